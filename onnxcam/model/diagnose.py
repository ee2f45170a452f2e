"""Gradients that choose a layer, and the reasons of blank maps and of scores that are not finite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.differentiate import set_outputs
from onnxcam.engine import Session, time_limit
from onnxcam.errors import EngineError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.model import probes
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.choose import choose, located, widest
from onnxcam.structure.held import hold
from onnxcam.structure.layer import Choice, Layer, LayoutProbe
from onnxcam.structure.layout import Layout, picture_layout
from onnxcam.structure.probing import PictureProbe
from onnxcam.targets.aim import Aim, ClassAim, ScoresAim, WeightsAim, emit_gradients
from onnxcam.targets.evidence import open_length

__all__ = [
    "Feeds",
    "GradientProbe",
    "GradientSession",
    "choose_layer",
    "covered",
    "gradient_flows",
    "locate_layers",
    "why_not_finite",
]

Feeds = Mapping[str, np.ndarray]


def choose_layer(prepared: PreparedModel, aim: Aim, name: str | None, feeds: Feeds | None = None) -> Choice:
    """Return the layer called *name*, or the best one for *aim*; LayerError where there is none.

    *feeds* are the inputs for one image, and the aim's. Those that are missing are random: the gradient of a random
    image, or of random targets, decides then which tokens count.
    """
    known = feeds or {}

    def probe(layers: Sequence[Layer]) -> list[float]:
        one = ScoresAim() if aim.input not in known and isinstance(aim, ClassAim) else aim
        given = known if aim.input in known else _random(prepared, one, known)
        return GradientProbe(prepared, one, layers).shares(given)

    target = aim.locate(prepared.model.graph)
    return choose(prepared.model.graph, prepared.image, target, STANDARD, name, probe, _layout_probe(prepared, feeds))


def locate_layers(prepared: PreparedModel, aim: Aim) -> list[Layer]:
    """Return the layers on the way to the score of *aim*, the last first."""
    graph = prepared.model.graph
    return located(graph, prepared.image, aim.locate(graph), STANDARD, _layout_probe(prepared, None))


def _layout_probe(prepared: PreparedModel, feeds: Feeds | None) -> LayoutProbe:
    """Return what finds layouts by runs with changed images; without *feeds* a random image is changed."""

    def layout_probe(values: Sequence[ir.Value]) -> dict[ir.Value, Layout | None]:
        given = _random(prepared, None, feeds or {})
        found = _layouts(prepared, given, [value.name or "" for value in values])
        return {value: found[value.name or ""] for value in values if value.name in found}

    return layout_probe


def _layouts(prepared: PreparedModel, feeds: Feeds, names: Sequence[str]) -> dict[str, Layout | None]:
    """Return the layouts that runs with changed images show, of the tensors *names* with spatial extent."""
    layout, picture = picture_layout(prepared.image), prepared.image.name or ""
    if layout is None or picture not in feeds:
        return {}

    def probed(session: Session, feeds: Feeds, names: Sequence[str]) -> dict[str, Layout | None]:
        def run(x: NDArray[Any], names: Sequence[str]) -> dict[str, NDArray[Any]]:
            return session.run({name: x if name == picture else feeds[name] for name in session.inputs}, names)

        return PictureProbe(run, feeds[picture], layout).layouts(names)

    found: dict[str, Layout | None] = dict.fromkeys(names)  # past the time limit no layout is known
    with suppress(EngineError), time_limit(probes.SECONDS):
        found |= probed(_session(prepared, names), feeds, names)
        lost = list(takewhile(lambda name: found[name] is None, found))
        for session, held in _holding(prepared, feeds, lost):
            found |= probed(session, {**feeds, **held}, lost)
    return found


def _session(prepared: PreparedModel, names: Iterable[str]) -> Session:
    """Return a session, on the CPU, that gives the tensors *names*."""
    return Session(_giving(prepared, names), "cpu")


def _holding(prepared: PreparedModel, feeds: Feeds, names: Sequence[str]) -> Iterator[tuple[Session, Feeds]]:
    """Yield a session that gives the tensors *names* with the keys and values of attention held, and these.

    Yield none where there is no tensor or no attention.
    """
    model = _giving(prepared, names)
    image = next(value for value in model.graph.inputs if value.name == prepared.image.name)
    held = hold(model.graph, image, STANDARD) if names else {}
    if held:
        session = _session(prepared, set(held.values()))
        values = session.run({name: feeds[name] for name in session.inputs})
        yield Session(model, "cpu"), {name: values[tensor] for name, tensor in held.items()}


def _giving(prepared: PreparedModel, names: Iterable[str]) -> ir.Model:
    """Return a copy of the model whose outputs are the tensors *names*."""
    model = prepared.model.clone()
    tensors = all_tensors(model.graph)
    model.graph.outputs[:] = [tensors[name] for name in names]
    return model


class GradientProbe:
    """The gradients of *aim*'s score at several layers, on the CPU; one session for any number of images."""

    def __init__(self, prepared: PreparedModel, aim: Aim, layers: Sequence[Layer] | None = None) -> None:
        self.layers = locate_layers(prepared, aim) if layers is None else layers
        self._gradients = GradientSession(prepared, aim, [layer.tensor for layer in self.layers])

    def shares(self, feeds: Feeds, region: NDArray[np.bool_] | None = None) -> list[float]:
        """Return for each layer the share of its cells, those in *region*, where the gradient is not zero."""
        pairs = zip(self._gradients(feeds), self.layers, strict=True)
        return [0.0 if gradient is None else _share(gradient, layer, region) for gradient, layer in pairs]

    def choose(self, feeds: Feeds, region: NDArray[np.bool_]) -> Choice:
        """Return the last layer whose gradient covers most of *region*; LayerError where it is zero in all layers.

        If the gradient is zero in *region* at all layers, the whole layers count.
        """
        shares = self.shares(feeds, region)
        return widest(self.layers, shares if any(shares) else self.shares(feeds))


class GradientSession:
    """The gradients of *aim*'s score at the tensors *wanted*, on the CPU."""

    def __init__(self, prepared: PreparedModel, aim: Aim, wanted: Sequence[str]) -> None:
        self._names, self._session = _gradients(prepared, aim, wanted)
        self._batch = prepared.batch if isinstance(prepared.batch, int) and not aim.single else 1

    def __call__(self, feeds: Feeds) -> list[np.ndarray | None]:
        """Return the gradients for one image; None where no path connects the tensor with the score."""
        session = self._session
        given = {} if session is None else {name: feeds[name] for name in session.inputs}
        if session is None or self._batch == 1:
            found = {} if session is None else session.run(given)
        else:
            found = session.run_in_pieces(given, self._batch)
        return [found.get(name) for name in self._names]


def _gradients(prepared: PreparedModel, aim: Aim, wanted: Sequence[str]) -> tuple[list[str], Session | None]:
    """Return the names of the outputs with the gradients at the tensors *wanted*, and their session.

    A name is empty where no path connects the tensor with the score; the session is None if all are.
    """
    twin = prepared.twin()
    op, tensors = Emitter(twin.model.graph), all_tensors(twin.model.graph)
    _, found = emit_gradients(op, aim, twin.batch, [tensors[name] for name in wanted])
    connected = {name: dx for name, dx in zip(wanted, found, strict=True) if dx is not None}
    added = set_outputs(op, {f"{name}.gradient": dx for name, dx in connected.items()}, replace=True)
    outputs = dict(zip(connected, added, strict=True))
    session = Session(twin.model, "cpu", optimize=False) if outputs else None
    return [outputs.get(name, "") for name in wanted], session


def gradient_flows(prepared: PreparedModel, aim: Aim, feeds: Feeds, wanted: str) -> bool:
    """Return whether the gradient of *aim*'s score at the tensor *wanted* is not zero everywhere, for one image."""
    (found,) = GradientSession(prepared, aim, [wanted])(feeds)
    return found is not None and bool(np.abs(found).max(initial=0) > 0)


def why_not_finite(model: ir.Model, picture: np.ndarray) -> str:
    """Return why the scores are NaN or infinite: the weights, the input, or an overflow."""
    for name, value in model.graph.initializers.items():
        weights = value.const_value.numpy() if value.const_value is not None else np.zeros(0)
        if np.issubdtype(weights.dtype, np.floating) and not np.isfinite(weights).all():
            return f"the model's weights hold NaN or infinity: initializer {name!r}; export the model again"
    if not np.isfinite(picture).all():
        return "the input tensor holds NaN or infinity; check the preprocessing"
    return "the class scores are NaN or infinite though weights and input are not: the network overflows on this input"


def _share(gradient: np.ndarray, layer: Layer, region: NDArray[np.bool_] | None) -> float:
    if not gradient.size:
        return 0.0
    return covered((np.abs(layer.layout.view(gradient)[0]) > 0).any(axis=0), region)


def covered(alive: NDArray[np.bool_], region: NDArray[np.bool_] | None) -> float:
    """Return the share of cells that are *alive*, of those in *region* of the image; 1 or 0 where it has no cell."""
    if region is None:
        return float(alive.mean())
    rows, columns = (
        np.minimum(np.arange(length) * size // length + size // (2 * length), size - 1)
        for length, size in zip(alive.shape, region.shape, strict=True)
    )
    inside = region[np.ix_(rows, columns)]
    return float(alive[inside].mean()) if inside.any() else float(alive.any())


def _random(prepared: PreparedModel, aim: Aim | None, known: Feeds) -> dict[str, np.ndarray]:
    """Return random feeds for the model and, if not None, for *aim*, but for those *known*."""
    found = {**_random_inputs(prepared), **known}
    if aim is not None and aim.input not in known:
        found[aim.input] = _random_weights(prepared, aim, found)
    return found


def _random_weights(prepared: PreparedModel, aim: Aim, feeds: Feeds) -> np.ndarray:
    """Return random values for the input of *aim*; open lengths are those of its target in a run."""
    twin = prepared.twin()
    aim.emit(Emitter(twin.model.graph), twin.batch)
    value = next(value for value in twin.model.graph.inputs if value.name == aim.input)
    shape = _concrete(value)
    if isinstance(aim, WeightsAim) and not all(isinstance(dim, int) for dim in (value.shape or ())[1:]):
        session = _session(prepared, [aim.tensor])
        y = session.run({name: feeds[name] for name in session.inputs})[aim.tensor]
        shape = list(y[None].shape if aim.batch is None else np.moveaxis(y, aim.batch, 0).shape)
    dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def _random_inputs(prepared: PreparedModel) -> dict[str, np.ndarray]:
    """Return random values for the inputs of the model."""
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for value in prepared.model.graph.inputs:
        noise = rng.uniform(-1, 1, _concrete(value))
        if value.dtype is not None and value.dtype.is_integer():
            noise = np.round(64 + 63 * noise) if value is prepared.image else np.zeros(_concrete(value))
        dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
        found[value.name or ""] = noise.astype(dtype)
    return found


def _concrete(value: ir.Value) -> list[int]:
    dims = list(value.shape) if value.shape is not None else []
    long = open_length(3 if len(dims) == 5 else 2)
    return [dim if isinstance(dim, int) else (1 if axis == 0 else long) for axis, dim in enumerate(dims)]
