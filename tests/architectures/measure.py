"""Measure one network: its gradient on ONNX Runtime, by either exporter, against PyTorch's."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from onnxcam.autodiff import vjp
from onnxcam.testing import run
from tests.architectures.network import Maker, Wrapped, lively
from tests.networks import export
from tests.optional import torch

EXPORTERS = {"dynamo": {}, "torchscript": {"dynamo": False, "opset_version": 18}}


@dataclass(frozen=True)
class Gradient:
    """How the gradient of one exported network compares with PyTorch's."""

    nodes: int
    gradient_nodes: int
    error: float  # relative, in the norm; the largest over the inputs
    cosine: float  # the smallest
    oracle: str
    seconds: float  # to build the gradient graph, the median of three

    @property
    def holds(self) -> bool:
        """Whether it is the same gradient."""
        return self.error <= 1e-3 and self.cosine >= 0.9999


def measure(
    maker: Maker, exporters: Sequence[str] = tuple(EXPORTERS), quick: bool = False
) -> dict[str, Gradient | Exception]:
    """Compare the gradients of a network with the oracle, by exporter: a `Gradient`, or why there is none.

    If *quick*, autograd is checked with two steps only, and the gradient graph is built once.
    """
    torch.manual_seed(0)
    made = maker()
    network = Wrapped(made)
    lively(network)
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(shape, generator=generator) for shape in made.inputs.values()]
    models = {exporter: _exported(network, inputs, exporter) for exporter in exporters}
    with torch.no_grad():
        y = network(*inputs)
    seed = torch.randn(y.shape, generator=generator)
    oracle: list[tuple[np.ndarray, str]] = []
    found: dict[str, Gradient | Exception] = {}
    for exporter, model in models.items():
        try:
            if isinstance(model, Exception):
                raise model
            _faithful(model, inputs, y)
            oracle = oracle or _oracle(network, inputs, seed, y, quick)
            found[exporter] = _compare(model, inputs, seed, oracle, 1 if quick else 3)
        except Exception as error:
            found[exporter] = error
    return found


class ExportError(Exception):
    """PyTorch's exporter refuses the network, or what it writes is another one."""


def _exported(network: Wrapped, inputs: list[torch.Tensor], exporter: str) -> onnx.ModelProto | Exception:
    try:
        with _silence():  # in which the older exporter would print its graph
            return export(network, *inputs, input_names=network.names, **EXPORTERS[exporter])
    except Exception as error:
        cause = error.__cause__ or error
        return ExportError(f"not exported: {type(cause).__name__}: {str(cause).strip().splitlines()[0][:60]}")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send what C++ code prints to nowhere."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _faithful(model: onnx.ModelProto, inputs: list[torch.Tensor], y: torch.Tensor) -> None:
    """Raise ExportError unless ONNX Runtime computes of *model* what PyTorch computes."""
    try:
        actual = run(model, _feeds(model, inputs))[model.graph.output[0].name]
    except Exception as error:
        raise ExportError(f"not run by ONNX Runtime: {str(error).splitlines()[0][-80:]}") from error
    if actual.shape != y.shape or np.linalg.norm(actual - y.numpy()) > 1e-3 * y.norm().item():
        raise ExportError("exported as another function")


def _feeds(model: onnx.ModelProto, inputs: list[torch.Tensor]) -> dict[str, np.ndarray]:
    return {value.name: x.numpy() for value, x in zip(model.graph.input, inputs, strict=True)}


def _compare(
    model: onnx.ModelProto,
    inputs: list[torch.Tensor],
    seed: torch.Tensor,
    oracle: list[tuple[np.ndarray, str]],
    repetitions: int,
) -> Gradient:
    output, feeds, times = model.graph.output[0].name, _feeds(model, inputs), []
    for _ in range(repetitions):
        start = time.process_time()
        gradient = vjp(model, [output], list(feeds))
        times.append(time.process_time() - start)
    results = run(gradient, {**feeds, f"{output}.cotangent": seed.numpy()})
    errors, cosines = [], []
    for (name, x), (expected, kind) in zip(feeds.items(), oracle, strict=True):
        actual = results[f"{name}.gradient"].astype(np.float64)
        if kind.startswith("difference"):  # the slope along one direction only
            actual = np.atleast_1d(np.vdot(actual, _direction(x.shape)))
        errors.append(float(np.linalg.norm(actual - expected) / np.linalg.norm(expected)))
        cosines.append(float(np.vdot(actual, expected) / np.linalg.norm(actual) / np.linalg.norm(expected)))
    kinds = sorted({kind for _, kind in oracle})
    size = len(model.graph.node), len(gradient.graph.node)
    return Gradient(*size, max(errors), min(cosines), ", ".join(kinds), statistics.median(times))


def _direction(shape: Sequence[int]) -> np.ndarray:
    direction = np.random.default_rng(3).standard_normal(tuple(shape))
    return direction / np.linalg.norm(direction)


def _oracle(
    network: Wrapped, inputs: list[torch.Tensor], seed: torch.Tensor, y: torch.Tensor, quick: bool
) -> list[tuple[np.ndarray, str]]:
    """Return for each input the gradient by autograd, or the slope along a direction where autograd itself is wrong.

    In double precision, but for networks that hold some tensors to single, or that decide otherwise in double.
    """
    try:
        return _differentiated(network.double(), [x.double() for x in inputs], seed.double(), y, quick)
    except RuntimeError:
        found = _differentiated(network.float(), inputs, seed, y, quick)
        return [(gradient, f"{kind} in single") for gradient, kind in found]


def _differentiated(
    network: Wrapped, inputs: list[torch.Tensor], seed: torch.Tensor, y: torch.Tensor, quick: bool
) -> list[tuple[np.ndarray, str]]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    output = network(*leaves)
    if (output - y).norm() > 1e-3 * y.norm():
        raise RuntimeError("another function in double")
    gradients = torch.autograd.grad((output * seed).sum(), leaves, allow_unused=True)
    found = [torch.zeros_like(x) if dx is None else dx for x, dx in zip(inputs, gradients, strict=True)]
    steps = (1e-4, 1e-5) if quick else (1e-3, 1e-4, 1e-5, 1e-6)
    return [_checked(network, inputs, i, seed, dx, steps) for i, dx in enumerate(found)]


def _checked(
    network: Wrapped,
    inputs: list[torch.Tensor],
    i: int,
    seed: torch.Tensor,
    found: torch.Tensor,
    steps: Sequence[float],
) -> tuple[np.ndarray, str]:
    """Return *found*, or the slope where the two steps that agree best tell another one than *found* does."""
    direction = torch.from_numpy(_direction(found.shape)).to(found.dtype)
    slopes = [_slope(network, inputs, i, seed, step * direction) / step for step in steps]
    doubt, slope = min((abs(a - b), b) for a, b in itertools.pairwise(slopes))
    if abs(slope - (found * direction).sum().item()) < 2 * doubt + 1e-6 * found.norm().item():
        return found.numpy(), "autograd"
    return np.atleast_1d(slope), "difference"


def _slope(network: Wrapped, inputs: list[torch.Tensor], i: int, seed: torch.Tensor, move: torch.Tensor) -> float:
    with torch.no_grad():
        ends = [network(*inputs[:i], inputs[i] + sign * move, *inputs[i + 1 :]) for sign in (1, -1)]
    return ((ends[0] - ends[1]) * seed).sum().item() / 2
