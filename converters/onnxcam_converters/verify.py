"""The proof: what the framework computes and what ONNX Runtime computes from the file, tensor by tensor.

Outputs and activations are compared by their largest difference relative to the largest value; gradients, of random
cotangents of all floating outputs, in relative L2 norm. Where a rectifier's input is within rounding of zero, float32
falls on either side of the kink, in the framework as in ONNX Runtime, and the gradient behind it jumps. Near the
outputs that is rare; at the input of a ResNet-50 two float32 implementations of the same gradient differ by up to
2e-2, hence the wider tolerance there. Where a gradient exceeds its tolerance, the framework's own is measured again on
inputs that differ by rounding: what it moves by there cannot be held against the file.
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

OUTPUT, ACTIVATION, GRADIENT, INPUT_GRADIENT = "output", "activation", "gradient", "input gradient"

TOLERANCES: dict[str, dict[str, float]] = {
    "float32": {OUTPUT: 1e-4, ACTIVATION: 1e-4, GRADIENT: 1e-3, INPUT_GRADIENT: 5e-2},
    "fp16": {OUTPUT: 2e-2, ACTIVATION: 2e-2},
    "int8": {},
}
"""What may differ, by precision and kind; what is not listed is measured and reported only."""

BROKEN = 0.5
"""The cosine between outputs below which an integer model has not merely lost precision."""

ROUNDING = 1e-6  # how far, relative to its largest value, an input is moved to see what rounding does to a gradient
WIDEST = 0.2  # no kinks excuse more than that

TINY = 1e-30

TensorPair: TypeAlias = "tuple[str, str, np.ndarray, np.ndarray]"  # kind, name, the framework's, the file's


@dataclass(frozen=True)
class VerificationRow:
    """One comparison."""

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
        """Whether it is as equal as it must be. NaN is not."""
        if self.precision == "int8" and self.kind == OUTPUT:
            return self.cosine >= BROKEN
        if self.tolerance is None:
            return True
        return self.relative <= self.tolerance


@dataclass
class Verifier:
    """Compares files with *source*, on random numbers and on the feeds *given*; collects what it found."""

    source: Source
    given: Mapping[str, Arrays]
    rows: list[VerificationRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._feeds = {"random": self.source.example(self._rng), **self.given}
        self._ran: dict[tuple[str, ...], Arrays] = {}

    def forward(self, model: ir.Model, taps: Sequence[Tap], precision: str = "float32") -> None:
        """Compare the outputs of *model*, those that `instrument` added included."""
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
                    self._note(f"the activation of {layer!r} is not compared: {self.source.framework} does not tell it")
            self._judge(precision, label, found)
            if asked:
                self._judge_class(model, precision, label, feed, ours, layers)

    def backward(self, model: ir.Model, taps: Sequence[Tap], precision: str = "float32") -> None:
        """Compare the gradients of random cotangents at the floating inputs and at *taps*, in one graph."""
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
        for label, feed in self._of(precision)[:2]:  # random numbers, and one picture
            known = {name: array for name, array in feed.items() if name in session.inputs}
            outputs = self._run(label, feed, list(layers.values()))
            cotangents = {
                name: self._rng.standard_normal(outputs[name].shape).astype(outputs[name].dtype)
                for name in outputs
                if f"{name}.cotangent" in session.inputs
            }
            seeds = {f"{name}.cotangent": array for name, array in cotangents.items()}
            ours = session.run({**known, **seeds}, [f"{name}.gradient" for name in names])
            theirs = self.source.gradients(feed, cotangents, list(layers.values()))
            if not theirs:
                self._note(f"the gradients are not compared: {self.source.framework} does not tell them")
            moved = partial(self._moved, feed, cotangents, theirs)
            self._judge(precision, label, _gradients(ours, theirs, layers), moved)

    def _judge_class(
        self, model: ir.Model, precision: str, label: str, feed: Arrays, ours: Arrays, layers: Mapping[str, str]
    ) -> None:
        """Compare the gradients that the file itself gives, of the class that it chose."""
        scores = find_scores(model.graph)
        if scores.head is not None or scores.value.name != scores.output:
            return  # of scores that the framework's model does not give, it cannot tell the gradient
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
        found: Iterable[TensorPair],
        moved: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        for kind, name, expected, actual in found:
            row = _compared(precision, kind, name, label, expected, actual)
            if not row.holds and moved is not None and row.tolerance is not None:
                row = replace(row, tolerance=min(max(row.tolerance, 2 * moved().get(name, 0.0)), WIDEST))
            self.rows.append(row)
            if not row.holds:
                raise ConversionError(_complaint(row, self.source.framework))

    def _moved(self, feed: Arrays, cotangents: Arrays, gradients: Arrays) -> dict[str, float]:
        """Return how far the framework's own gradients move, relatively, when the input moves by rounding."""
        most = dict.fromkeys(gradients, 0.0)
        for _ in range(4):
            near = {name: _shaken(x, self._rng) for name, x in feed.items()}
            for name, dx in self.source.gradients(near, cotangents, list(gradients)).items():
                most[name] = max(most[name], _distance(gradients[name], dx))
        return most

    def _run(self, label: str, feed: Arrays, layers: Sequence[str]) -> Arrays:
        """Return what the framework computes on the feed called *label*, which is asked of it once."""
        key = (label, *layers)
        if key not in self._ran:
            self._ran[key] = self.source.run(feed, layers)
        return self._ran[key]

    def _of(self, precision: str) -> list[tuple[str, Arrays]]:
        """Return the feeds by name; integers are calibrated for pictures, on random numbers they tell nothing."""
        feeds = self.given if precision == "int8" else self._feeds
        return list(feeds.items())

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _vjp(model: ir.Model, tensors: Sequence[str]) -> tuple[list[str], Session]:
    """Return what gradients there are, and the session that gives them: at connected inputs and at *tensors*."""
    twin = canonical(model.clone(), STANDARD)
    outputs = [y for y in twin.graph.outputs if y.dtype is not None and y.dtype.is_floating_point()]
    inputs = [x for x in twin.graph.inputs if x.dtype is not None and x.dtype.is_floating_point()]
    connected = [x.name or "" for x in inputs if not dependents(twin.graph, [x], STANDARD).isdisjoint(outputs)]
    names = [*connected, *tensors]
    add_vjp(twin, [y.name or "" for y in outputs], names, STANDARD)
    return names, Session(twin, "cpu", optimize=False)


def _gradients(ours: Arrays, theirs: Arrays, layers: Mapping[str, str]) -> list[TensorPair]:
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
    x, y = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
    difference = np.abs(x - y)
    absolute = float(difference.max(initial=0))
    if kind in (GRADIENT, INPUT_GRADIENT):
        relative = _distance(x, y)
    else:
        relative = absolute / max(float(np.abs(x).max(initial=0)), TINY)
    lengths = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    cosine = float(x @ y) / max(lengths, TINY) if difference.any() else 1.0
    return VerificationRow(precision, kind, name, feed, absolute, relative, cosine, TOLERANCES[precision].get(kind))


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the L2 norm of the difference, relative to that of *x*."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return float(np.linalg.norm(x - y)) / max(float(np.linalg.norm(x)), TINY)


def _shaken(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if x.dtype.kind != "f":
        return x
    return (x + ROUNDING * np.abs(x).max(initial=0) * rng.standard_normal(x.shape)).astype(x.dtype)


def _complaint(row: VerificationRow, framework: str) -> str:
    what = f"{row.kind} {row.name!r} of the {row.precision} file differs from that of {framework}"
    if row.precision == "int8":
        return (
            f"{what}: their cosine is {row.cosine:.3f} (feed: {row.feed}); nothing was written: calibrate "
            "with pictures like those the model will see, or use --precision fp16"
        )
    advice = {
        ACTIVATION: "the layer is called several times, or gives several tensors: expose another one",
        "fp16": "the numbers leave the range of float16: use --precision float32",
    }
    kind = "fp16" if row.precision == "fp16" else row.kind
    return (
        f"{what} by {row.relative:.1e} (tolerance {row.tolerance:.0e}, feed: {row.feed}); nothing was written: "
        + advice.get(kind, "the exporter changed what the model computes: try another --opset, or report it")
    )
