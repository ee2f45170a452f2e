"""Verify an ONNX file: compare ONNX Runtime with the framework, tensor by tensor.

Measure for outputs and activations: largest difference, relative to the largest value. Measure for gradients (of random
cotangents of all floating-point outputs): relative L2 norm.

If the input of a ReLU is within rounding of zero, two float32 implementations can fall on different sides of the kink,
and the gradient before it jumps. This is rare near the outputs. At the input of a ResNet-50 two correct implementations
differ by up to 2e-2, so the tolerance is wider there. If a gradient exceeds its tolerance, the framework's gradient is
measured again on inputs that differ by rounding, and the tolerance grows by its change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.differentiate import add_vjp
from onnxcam.engine import Session
from onnxcam.errors import ConversionError, GradientError, MissingRuleError
from onnxcam.instrument import Tap
from onnxcam.metadata.reserved import CHOSEN, CLASS
from onnxcam.passes import canonical
from onnxcam.targets import TOP, find_scores
from onnxcam_converters.source import Arrays, Source

__all__ = ["TOLERANCES", "VerificationRow", "Verifier"]

OUTPUT, ACTIVATION, GRADIENT, INPUT_GRADIENT = "output", "activation", "gradient", "input gradient"

TOLERANCES: dict[str, dict[str, float]] = {
    "float32": {OUTPUT: 1e-4, ACTIVATION: 1e-4, GRADIENT: 1e-3, INPUT_GRADIENT: 5e-2},
    "fp16": {OUTPUT: 2e-2, ACTIVATION: 2e-2},
    "dynamic range": {OUTPUT: 0.3},
    "int8": {},
}
"""Tolerances by precision and kind. Other combinations are reported without a verdict."""

_BROKEN_COSINE = 0.5
"""Cosine between outputs below which an int8 model is broken, not just less precise."""

_ROUNDING = 1e-6  # size of the rounding test: change of an input, relative to its largest value
_WIDEST_TOLERANCE = 0.2  # largest tolerance that the rounding test can give

_TINY = 1e-30
_SATURATED = 1e-6  # distance from 0 or 1 within which a probability says nothing of the score before it

_SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "random": lambda x: x,
    "random, times 255": lambda x: (255 * x).astype(x.dtype),
    "random, from -1 to 1": lambda x: (2 * x - 1).astype(x.dtype),
    "random, times 0.1": lambda x: (0.1 * x).astype(x.dtype),
    "random, times 0.01": lambda x: (0.01 * x).astype(x.dtype),
}
"""Random inputs: the next ones are tried where outputs are empty or saturated on the first."""

_TensorPair: TypeAlias = "tuple[str, str, np.ndarray, np.ndarray]"  # kind, name, the framework's, the file's


@dataclass(frozen=True)
class VerificationRow:
    """One comparison of a tensor.

    Attributes:
        precision: ``"float32"``, ``"fp16"``, ``"int8"`` or ``"dynamic range"``.
        kind: ``"output"``, ``"activation"``, ``"gradient"`` or ``"input gradient"``.
        name: The tensor or layer.
        feed: Name of the inputs: ``"random"`` or an image file.
        absolute: Largest absolute difference.
        relative: Relative difference (see the module).
        cosine: Cosine similarity.
        tolerance: Largest accepted relative difference, None for no limit.
    """

    precision: str
    kind: str
    name: str
    feed: str
    absolute: float
    relative: float
    cosine: float
    tolerance: float | None

    @property
    def holds(self) -> bool:
        """Whether the comparison passes; False for NaN."""
        if self.precision == "int8" and self.kind == OUTPUT:
            return self.cosine >= _BROKEN_COSINE
        if self.tolerance is None:
            return True
        return self.relative <= self.tolerance


@dataclass
class Verifier:
    """Compares files with *source* on random inputs and on the inputs *given*.

    Attributes:
        source: The model in its framework.
        given: Further inputs by name.
        rows: Comparisons so far.
        notes: Messages for the user so far.
    """

    source: Source
    given: Mapping[str, Arrays]
    rows: list[VerificationRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._ran: dict[tuple[str, ...], Arrays] = {}
        self._feeds = {**self._random_feed(), **self.given}

    def _random_feed(self) -> dict[str, Arrays]:
        """Return random inputs by name: the first of `_SCALES` on which every output shows something, else the best."""
        example = self.source.example(self._rng)
        empty: dict[str, dict[str, str]] = {}
        feeds = {}
        for label, scaled in _SCALES.items():
            feeds[label] = {name: scaled(x) if x.dtype.kind == "f" else x for name, x in example.items()}
            outputs = self._run(label, feeds[label], [])
            empty[label] = {name: why for name, y in outputs.items() if (why := _shows_nothing(y))}
            if not empty[label]:
                break
        best = min(empty, key=lambda label: len(empty[label]))
        for name, why in empty["random"].items():
            still = name in empty[best]
            self._note(
                f"output {name!r} is {why} on random inputs"
                + (", so comparing it shows nothing; give images with objects (--verify-on)" if still else "")
                + (f"; it is compared on others ({best})" if not still else "")
            )
        return {best: feeds[best]}

    def forward(self, model: ir.Model, taps: Sequence[Tap], precision: str = "float32") -> None:
        """Compare the outputs of *model*, including added outputs; ConversionError if one differs."""
        session = Session(model, "cpu")
        layers = {tap.name: tap.layer for tap in taps if tap.name in session.outputs and tap.layer}
        asked = CLASS in session.inputs
        for label, feed in self._of(precision):
            known = {name: array for name, array in feed.items() if name in session.inputs}
            classes = {CLASS: np.full(len(next(iter(known.values()))), TOP, np.int64)} if asked else {}
            ours = session.run({**known, **classes})
            theirs = self._run(label, feed, list(layers.values()))
            found = [
                (OUTPUT, name, theirs[name], ours[name])
                for name in session.outputs
                if name in theirs and name not in layers
            ]
            for tensor, layer in layers.items():
                if layer in theirs:
                    found.append((ACTIVATION, layer, theirs[layer], ours[tensor]))
                else:
                    self._note(
                        f"the activation of {layer!r} is not compared: {self.source.framework} does not return it"
                    )
            self._judge(precision, label, found)
            if asked:
                self._judge_class(model, precision, label, feed, ours, layers)

    def backward(self, model: ir.Model, taps: Sequence[Tap], precision: str = "float32") -> None:
        """Compare gradients of random cotangents at floating-point inputs and at *taps*."""
        layers = {tap.name: tap.layer for tap in taps if tap.layer}
        if not any(y.dtype is not None and y.dtype.is_floating_point() for y in model.graph.outputs):
            self._note("the gradients are not compared: the outputs are integers")
            return
        try:
            names, session = _vjp(model, list(layers))
        except (MissingRuleError, GradientError) as error:
            self._note(f"the gradients are not compared: {error}")
            return
        if not names:
            self._note("the gradients are not compared: none reaches an input")
            return
        feeds = self._of(precision)[:2]  # random numbers, and one image
        ours = [self._file_gradients(session, names, label, feed, list(layers.values())) for label, feed in feeds]
        del session  # its weights and activations make room for the framework's
        for (label, feed), (cotangents, gradients) in zip(feeds, ours, strict=True):
            theirs = self.source.gradients(feed, cotangents, list(layers.values()))
            if not theirs:
                self._note(f"the gradients are not compared: {self.source.framework} does not return them")
            moved = partial(self._moved, feed, cotangents, theirs)
            self._judge(precision, label, _gradients(gradients, theirs, layers), moved)

    def _file_gradients(
        self, session: Session, names: Sequence[str], label: str, feed: Arrays, layers: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], Arrays]:
        """Return random cotangents of the outputs, and the gradients *names* that *session* computes from them."""
        outputs = self._run(label, feed, layers)
        cotangents = {
            name: self._rng.standard_normal(outputs[name].shape).astype(outputs[name].dtype)
            for name in outputs
            if f"{name}.cotangent" in session.inputs
        }
        seeds = {f"{name}.cotangent": array for name, array in cotangents.items()}
        lost = [name for name in session.inputs if name.endswith(".cotangent") and name not in seeds]
        if lost:
            raise ConversionError(
                f"{self.source.framework} returned no output {lost[0].removesuffix('.cotangent')!r}, which the "
                f"file has; it returned {', '.join(outputs) or 'nothing'}: run() must return all outputs by name"
            )
        known = {name: array for name, array in feed.items() if name in session.inputs}
        return cotangents, session.run({**known, **seeds}, [f"{name}.gradient" for name in names])

    def _judge_class(
        self, model: ir.Model, precision: str, label: str, feed: Arrays, ours: Arrays, layers: Mapping[str, str]
    ) -> None:
        """Compare the gradients that the file outputs for its chosen class."""
        scores = find_scores(model.graph)
        if scores.head is not None or scores.value.name != scores.output:
            return  # the framework has no such scores, so no gradient of them
        hot = np.zeros_like(ours[scores.output])
        hot.reshape(-1, scores.classes)[np.arange(len(ours[CHOSEN])), ours[CHOSEN]] = 1
        seed = {scores.output: hot}
        theirs = self.source.gradients(feed, seed, list(layers.values()))
        moved = partial(self._moved, feed, seed, theirs)
        self._judge(precision, f"{label}, chosen class", _gradients(ours, theirs, layers), moved)

    def _judge(
        self,
        precision: str,
        label: str,
        found: Iterable[_TensorPair],
        moved: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        for kind, name, expected, actual in found:
            row = _compared(precision, kind, name, label, expected, actual)
            if not row.holds and moved is not None and row.tolerance is not None:
                row = replace(row, tolerance=min(max(row.tolerance, 2 * moved().get(name, 0.0)), _WIDEST_TOLERANCE))
            self.rows.append(row)
            if not row.holds:
                raise ConversionError(_complaint(row, self.source.framework))

    def _moved(self, feed: Arrays, cotangents: Arrays, gradients: Arrays) -> dict[str, float]:
        """Return the relative change of the framework's gradients when the input changes by rounding."""
        most = dict.fromkeys(gradients, 0.0)
        for _ in range(4):
            near = {name: _shaken(x, self._rng) for name, x in feed.items()}
            for name, dx in self.source.gradients(near, cotangents, list(gradients)).items():
                most[name] = max(most[name], _distance(gradients[name], dx))
        return most

    def _run(self, label: str, feed: Arrays, layers: Sequence[str]) -> Arrays:
        """Return the framework's results for the inputs called *label*, computed once."""
        key = (label, *layers)
        if key not in self._ran:
            self._ran[key] = self.source.run(feed, layers)
        return self._ran[key]

    def _of(self, precision: str) -> list[tuple[str, Arrays]]:
        """Return the inputs by name. An int8 model is calibrated for images, so random inputs are left out."""
        feeds = self.given if precision == "int8" else self._feeds
        return list(feeds.items())

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _vjp(model: ir.Model, tensors: Sequence[str]) -> tuple[list[str], Session]:
    """Return the names of the gradients, at connected inputs and at *tensors*, and a session that computes them."""
    twin = canonical(model.clone(), STANDARD)
    outputs = [y for y in twin.graph.outputs if y.dtype is not None and y.dtype.is_floating_point()]
    inputs = [x for x in twin.graph.inputs if x.dtype is not None and x.dtype.is_floating_point()]
    connected = [x.name or "" for x in inputs if not dependents(twin.graph, [x], STANDARD).isdisjoint(outputs)]
    names = [*connected, *tensors]
    add_vjp(twin, [y.name or "" for y in outputs], names, STANDARD)
    return names, Session(twin, "cpu", optimize=False)


def _gradients(ours: Arrays, theirs: Arrays, layers: Mapping[str, str]) -> list[_TensorPair]:
    found = []
    for tensor in [name.removesuffix(".gradient") for name in ours if name.endswith(".gradient")]:
        name, kind = (layers[tensor], GRADIENT) if tensor in layers else (tensor, INPUT_GRADIENT)
        if name in theirs:
            found.append((kind, name, theirs[name], ours[f"{tensor}.gradient"]))
    return found


def _compared(
    precision: str, kind: str, name: str, feed: str, expected: np.ndarray, actual: np.ndarray
) -> VerificationRow:
    if expected.shape != actual.shape:
        raise ConversionError(
            f"{kind} {name!r} of the file has shape {list(actual.shape)}, the framework's has {list(expected.shape)}; "
            "nothing was written: fix the shapes (--dynamic none), or expose another layer"
        )
    x, y = _without_shared_infinities(expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel())
    difference = np.abs(x - y)
    absolute = float(difference.max(initial=0))
    if kind in (GRADIENT, INPUT_GRADIENT):
        relative = _distance(x, y)
    elif expected.dtype.kind == "f" and _shows_nothing(expected):
        relative = absolute  # of probabilities, whose scale is 1
    else:
        relative = absolute / max(float(np.abs(x).max(initial=0)), _TINY)
    lengths = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    cosine = float(x @ y) / max(lengths, _TINY) if difference.any() else 1.0
    return VerificationRow(precision, kind, name, feed, absolute, relative, cosine, TOLERANCES[precision].get(kind))


def _without_shared_infinities(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return *x* and *y* with 0 where both are NaN, or the same infinity: there the file does as the framework does."""
    shared = ~np.isfinite(x) & ((x == y) | (np.isnan(x) & np.isnan(y)))
    return np.where(shared, 0, x), np.where(shared, 0, y)


def _shows_nothing(y: np.ndarray) -> str:
    """Return why a comparison of the output *y* shows nothing: it is empty, not finite, or saturated; else nothing."""
    if not y.size:
        return "empty"
    if y.dtype.kind == "f" and not np.isfinite(y).any():
        return "NaN or infinite everywhere"
    if y.dtype.kind != "f" or y.size < 2:
        return ""
    saturated = (np.abs(y) < _SATURATED) | (np.abs(y - 1) < _SATURATED)
    return "saturated: 0 or 1 everywhere" if saturated.all() else ""


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the L2 norm of the difference, relative to the norm of *x*."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return float(np.linalg.norm(x - y)) / max(float(np.linalg.norm(x)), _TINY)


def _shaken(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if x.dtype.kind != "f":
        return x
    return (x + _ROUNDING * np.abs(x).max(initial=0) * rng.standard_normal(x.shape)).astype(x.dtype)


def _complaint(row: VerificationRow, framework: str) -> str:
    what = f"{row.kind} {row.name!r} of the {row.precision} file differs from that of {framework}"
    if row.precision == "dynamic range":
        return (
            f"{what} by {row.relative:.1e} (tolerance {row.tolerance:.0e}, feed: {row.feed}): more than "
            "rounding explains; nothing was written: convert the model without dynamic range quantisation"
        )
    if row.precision == "int8":
        return (
            f"{what}: the cosine is {row.cosine:.3f} (feed: {row.feed}); nothing was written: calibrate "
            "with typical images, or use --precision fp16"
        )
    advice = {
        ACTIVATION: "the layer is called several times, or returns several tensors: expose another layer",
        "fp16": "values exceed the range of float16: use --precision float32",
    }
    kind = "fp16" if row.precision == "fp16" else row.kind
    return (
        f"{what} by {row.relative:.1e} (tolerance {row.tolerance:.0e}, feed: {row.feed}); nothing was written: "
        + advice.get(kind, "the exporter changed what the model computes: try another --opset, or report it")
    )
