"""The levels of a detector's head, and the layer that explains the detections of each.

A level is a tensor of scores and the last layers, its *ends*, on which a part of its elements depends. Runs with
changed ends show which part. The layer of a level is measured once, by the maps of candidates in the probe images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.differentiate import set_outputs
from onnxcam.autodiff.window_elements import KnownPlace
from onnxcam.engine import Session
from onnxcam.errors import EngineError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.graph.subgraph import prune
from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import Feeds, covered, locate_layers
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.choose import RUNNERS_UP
from onnxcam.structure.layer import Choice, Layer, ancestors
from onnxcam.structure.unplaced import last
from onnxcam.targets.aim import Aim, WeightsAim, emit_gradients
from onnxcam.targets.detection import Detections, region_of
from onnxcam.targets.detectors.boxes import overlaps
from onnxcam.targets.detectors.candidates import Candidates
from onnxcam.targets.detectors.element_places import element_places
from onnxcam.targets.goal import Look

__all__ = ["HeadLevel", "HeadLevels"]

HeadLevel: TypeAlias = "tuple[WeightsAim, int]"
"""A tensor of scores, and the ends that a part of it depends on: bit n for the n-th one."""

_PROBED = 2
"""So many candidates of each level and probe image are measured."""
_ROUND = 12
"""So many layers are measured at once, from the last one backwards, until one is wide enough."""
_ENOUGH = 0.3
"""So much of a box has evidence at the layer of its level (docs/decisions/0019-levels.md)."""
_KINDS = ("alive", "evidence")
_REASON = "the last activation whose evidence covers 30 % of the boxes at this level of the head, in probe images"
_NO_EVIDENCE = "the last activation before the scores of this level of the head; no probe image has a gradient there"
_MOST_ENDS = 62
_MOST_LEVELS = 64
_TRIES = 4
_SAME_PLACE = 0.5


@dataclass(frozen=True)
class _Probed:
    """A candidate in a probe image: the inputs, those of its aim among them, and its place."""

    feeds: Feeds
    region: NDArray[np.bool_]


@dataclass
class HeadLevels:
    """The levels of the detector *network*."""

    network: ModelDescription
    _choices: dict[HeadLevel, Choice] = field(default_factory=dict, init=False)
    _found: dict[tuple[WeightsAim, tuple[int, ...]], NDArray[np.int64]] = field(default_factory=dict, init=False)
    _layers: dict[WeightsAim, list[Layer]] = field(default_factory=dict, init=False)

    def has(self, aim: Aim) -> bool:
        """Return whether *aim* is at the scores of detections."""
        task = self.network.task
        return isinstance(task, Detections) and any(aim == one for one, _ in self._candidates[0][0].aim.tensors)

    def level(self, aim: WeightsAim, weights: NDArray[Any], look: Look | None = None) -> HeadLevel:
        """Return the level of a detection with *weights*, without the batch axis; *look*: where the size is open."""
        bits = self._bits(aim, look or self._looks[0])
        whole = int(np.bitwise_or.reduce(bits, axis=None))
        if bits.shape != weights.shape:  # the number of candidates depends on the image
            return aim, whole
        return aim, int(np.bitwise_or.reduce(bits[weights != 0], axis=None)) or whole

    def levels(self) -> tuple[list[HeadLevel], NDArray[np.int64]]:
        """Return the levels, and the place among them of each candidate, [B]; of one level, an empty array."""
        seen, look = self._candidates[0]
        each = self._each(seen, look)
        found = list(dict.fromkeys(each))
        if len(found) < 2:
            return found, np.zeros(0, np.int64)
        return found, np.array([found.index(level) for level in each], np.int64)

    def places(self, rows: NDArray[np.int64] | None = None) -> dict[WeightsAim, Sequence[KnownPlace]]:
        """Return what is known of the elements of the scores of candidates *rows*, default all, in each tensor."""
        seen = [self._candidates[0][0], self._candidates[-1][0]]
        return dict(zip((aim for aim, _ in seen[0].aim.tensors), element_places(seen, rows), strict=True))

    def places_of(self, aim: WeightsAim, weights: NDArray[Any]) -> list[KnownPlace]:
        """Return what is known of each of the *weights* that are not zero, in any order; none where it is little."""
        known, count = self._every.get(aim, ()), np.count_nonzero(weights)
        return [KnownPlace.either(known)] * count if 0 < count <= len(known) else []

    def choice(self, level: HeadLevel) -> Choice:
        """Return the layer of a level: the last one with evidence in 30 % of a candidate's box, on average."""
        if level not in self._choices:
            self._choices[level] = self._measured(level)
        return self._choices[level]

    @cached_property
    def _prepared(self) -> PreparedModel:
        return self.network.open()

    @cached_property
    def _looks(self) -> list[Look]:
        return self.network.probe_looks()

    @cached_property
    def _every(self) -> dict[WeightsAim, Sequence[KnownPlace]]:
        return self.places()

    @cached_property
    def _task(self) -> Detections:
        assert isinstance(self.network.task, Detections)
        return self.network.task

    @cached_property
    def _candidates(self) -> list[tuple[Candidates, Look]]:
        names = self._task.decoder.tensors
        return [(self._task.candidates(look.tensors(names), look.size), look) for look in self._looks]

    def _each(self, seen: Candidates, look: Look) -> list[HeadLevel]:
        """Return the level of each candidate."""
        rows, aims = np.arange(len(seen.corners)), [aim for aim, _ in seen.aim.tensors]
        own, bits = np.full(len(rows), -1), np.zeros(len(rows), np.int64)
        for one in seen.aim.elements(rows, seen.scores.argmax(axis=1) if seen.scores.size else rows):
            used = np.broadcast_to(np.asarray(one.weight) != 0, rows.shape) & np.isin(own, (-1, one.tensor))
            own[used] = one.tensor
            every = self._bits(aims[one.tensor], look).reshape(-1)
            at = np.broadcast_to(np.asarray(one.index, np.int64), rows.shape)[used]
            bits[used] |= every[at] if len(every) == np.prod(seen.aim.tensors[one.tensor][1]) else every.max(initial=1)
        return [(aims[max(place, 0)], int(one)) for place, one in zip(own, bits, strict=True)]

    def _bits(self, aim: WeightsAim, look: Look) -> NDArray[np.int64]:
        """Return for each element of the scores, without the batch axis, the ends that it depends on."""
        key = aim, look.size
        if key not in self._found:
            self._found[key] = self._measured_bits(aim, look)
        return self._found[key]

    def _measured_bits(self, aim: WeightsAim, look: Look) -> NDArray[np.int64]:
        target, perm = aim.before_head(self._prepared.model.graph)
        names = self._ends(aim)
        turned = np.transpose(_dependence(self._prepared, target.name or "", names, look), perm)
        bits = np.asarray(turned if aim.batch is None else turned.take(0, axis=aim.batch))
        filled = _filled(bits)
        found, counts = np.unique(filled[filled != 0], return_counts=True)
        if not 0 < len(found) <= _MOST_LEVELS:
            return np.full(bits.shape, max(1, (1 << len(names)) - 1), np.int64)
        return np.where(filled == 0, found[counts.argmax()], filled)  # a score that never changes detects nothing

    def _ends(self, aim: WeightsAim) -> list[str]:
        """Return the names of the last layers on the way to the scores."""
        graph, tensors = self._prepared.model.graph, {layer.origin or layer.value for layer in self._all(aim)}
        ends = last(aim.locate(graph), tensors, dependents(graph, [self._prepared.image], STANDARD))
        return sorted(end.name or "" for end in ends)

    def _all(self, aim: WeightsAim) -> list[Layer]:
        if aim not in self._layers:
            self._layers[aim] = locate_layers(self._prepared, aim)
        return self._layers[aim]

    def _behind(self, level: HeadLevel) -> list[Layer]:
        """Return the layers that the level depends on, the last first."""
        (aim, bits), tensors = level, all_tensors(self._prepared.model.graph)
        names = [name for place, name in enumerate(self._ends(aim)) if bits >> place & 1]
        needed = set().union(*(ancestors(tensors[name]) for name in names))
        return [layer for layer in self._all(aim) if (layer.origin or layer.value) in needed]

    def _measured(self, level: HeadLevel) -> Choice:
        aim, layers, probed = level[0], self._behind(level), list(self._probed(level))
        shares: list[float] = []
        while len(shares) < len(layers) and probed and max(shares, default=0) < _ENOUGH:
            shares += _shares(self._prepared, aim, layers[len(shares) : len(shares) + _ROUND], probed)
        best = max(shares, default=0)
        place = next((n for n, share in enumerate(shares) if share >= min(_ENOUGH, best)), 0)
        reason = _REASON if best > 0 else _NO_EVIDENCE
        return Choice(layers[place], reason, tuple(layers[place + 1 : place + 1 + RUNNERS_UP]))

    def _probed(self, level: HeadLevel) -> Iterator[_Probed]:
        """Yield the best candidates of the level in each probe image; of any level, if it has none."""
        found = [(seen, look, self._of(level, seen, look)) for seen, look in self._candidates]
        some = any(len(rows) for _, _, rows in found)
        for seen, look, rows in found:
            aims = [aim for aim, _ in seen.aim.tensors]
            own = rows if some else np.array([c for c, one in enumerate(self._each(seen, look)) if one[0] in aims[:1]])
            yield from self._best(level[0], seen, look, own)

    def _of(self, level: HeadLevel, seen: Candidates, look: Look) -> NDArray[np.int64]:
        each = self._each(seen, look)
        return np.array([row for row, one in enumerate(each) if one == level], np.int64)

    def _best(self, aim: WeightsAim, seen: Candidates, look: Look, rows: NDArray[np.int64]) -> Iterator[_Probed]:
        taken: list[int] = []
        for row in rows[np.argsort(-seen.scores[rows].max(axis=1, initial=0), kind="stable")]:
            near = taken and overlaps(seen.corners[taken], seen.corners[row]).max() > _SAME_PLACE
            region = None if near else region_of(seen, int(row), look.size)
            own, weights = (None, None) if region is None else seen.aim(int(row), int(seen.scores[row].argmax()))
            if region is not None and own == aim and weights is not None:
                taken.append(int(row))
                yield _Probed({**look.feeds, aim.input: weights[None]}, region)
            if len(taken) == _PROBED:
                return


def _shares(
    prepared: PreparedModel, aim: WeightsAim, layers: Sequence[Layer], probed: Sequence[_Probed]
) -> list[float]:
    """Return for each layer the mean share of the places that have evidence; 0 where a gradient misses one."""
    alive, evidence = (np.array(table) for table in zip(*_covered(prepared, aim, layers, probed), strict=True))
    some = alive.any(axis=1)
    reached = alive[some].all(axis=0) & some.any()
    return [float(share) for share in np.where(reached, evidence.mean(axis=0), 0.0)]


def _covered(
    prepared: PreparedModel, aim: WeightsAim, layers: Sequence[Layer], probed: Sequence[_Probed]
) -> Iterator[tuple[list[float], list[float]]]:
    """Yield for each of *probed* the shares of its place with a gradient, and with evidence, at each of *layers*."""
    session, batch = _evidence(prepared, aim, layers), prepared.batch
    for one in probed:
        given = {name: one.feeds[name] for name in session.inputs}
        pieces = batch if isinstance(batch, int) and batch > 1 and not aim.single else None
        found = session.run(given) if pieces is None else session.run_in_pieces(given, pieces)
        yield tuple(  # type: ignore[misc]
            [
                covered(found[name][0] > 0, one.region) if (name := f"{kind}.{place}") in found else 0.0
                for place in range(len(layers))
            ]
            for kind in _KINDS
        )


def _evidence(prepared: PreparedModel, aim: WeightsAim, layers: Sequence[Layer]) -> Session:
    """Return a session with two maps for each layer: where the gradient is not zero, and LayerCAM."""
    twin = prepared.twin()
    op, own = Emitter(twin.model.graph), [layer.in_graph(twin.model.graph) for layer in layers]
    _, gradients = emit_gradients(op, aim, twin.batch, [layer.value for layer in own])
    outputs: dict[str, ir.Value] = {}
    for place, (layer, dx) in enumerate(zip(own, gradients, strict=True)):
        if dx is not None:
            dx.shape = layer.value.shape
            gradient = layer.layout.maps(op, layer.dequantised_gradient(op, dx))
            activation = layer.layout.maps(op, layer.dequantised(op))
            outputs[f"{_KINDS[0]}.{place}"] = op.ReduceMax(op.Abs(gradient), [1], keepdims=0)
            outputs[f"{_KINDS[1]}.{place}"] = op.ReduceSum(op.Mul(op.Relu(gradient), activation), [1], keepdims=0)
    set_outputs(op, outputs, replace=True)
    return Session(twin.model, "cpu", optimize=False)


def _dependence(prepared: PreparedModel, target: str, ends: Sequence[str], look: Look) -> NDArray[np.int64]:
    """Return for each element of the tensor *target* the *ends* on which it depends, as bits."""
    values = dict(zip((target, *ends), look.tensors((target, *ends)), strict=True))
    every = np.full(values[target].shape, (1 << len(ends)) - 1, np.int64)
    if not 1 < len(ends) <= _MOST_ENDS:
        return every if ends else every + 1
    try:
        return _changed(_behind_ends(prepared, target, ends), target, {**look.feeds, **values}, ends)
    except EngineError:
        return every


def _changed(session: Session, target: str, values: Mapping[str, NDArray[Any]], ends: Sequence[str]) -> NDArray[Any]:
    rng, given = np.random.default_rng(0), {name: values[_own(name)] for name in session.inputs}
    first = session.run(given)[target]
    found, every = np.zeros(first.shape, np.int64), np.full(first.shape, (1 << len(ends)) - 1, np.int64)
    for place, name in enumerate(ends):
        for number in range(_TRIES):
            other = session.run({**given, f"{_CUT}{name}": _random_like(values[name], rng, number)})[target]
            if other.shape != first.shape:  # the graph gathers rows
                return every
            found[(other != first) & ~((other != other) & (first != first))] |= 1 << place
    return found


def _filled(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return *bits* with those of a line where all others in it agree: integers that saturate do not change."""
    found = bits
    for axis in range(bits.ndim):
        high = found.max(axis=axis, keepdims=True, initial=0)
        low = np.where(found == 0, high, found).min(axis=axis, keepdims=True, initial=1 << _MOST_ENDS)
        found = np.where((found == 0) & (low == high), high, found)
    return found


_CUT = "onnxcam.end."


def _own(name: str) -> str:
    return name.removeprefix(_CUT)


def _random_like(values: NDArray[Any], rng: np.random.Generator, number: int) -> NDArray[Any]:
    """Return other values: those of *values* in another order, or random ones."""
    if number % 2:
        return rng.permutation(values.reshape(-1)).reshape(values.shape)
    if values.dtype.kind in "iu":
        info = np.iinfo(values.dtype)
        return rng.integers(info.min, info.max, values.shape, values.dtype, endpoint=True)
    scale = 2 * float(np.abs(values).mean()) + 1e-3
    return (scale * rng.standard_normal(values.shape)).astype(values.dtype)


def _behind_ends(prepared: PreparedModel, target: str, ends: Sequence[str]) -> Session:
    """Return a session from the tensors *ends* to the tensor *target*."""
    model = prepared.model.clone()
    graph, tensors = model.graph, all_tensors(model.graph)
    graph.outputs[:] = [tensors[target]]
    for name in ends:
        value = tensors[name]
        given = ir.Value(name=f"{_CUT}{name}", shape=value.shape, type=value.type)
        value.replace_all_uses_with(given, replace_graph_outputs=True)
        graph.inputs.append(given)
    prune(graph)
    graph.inputs[:] = [value for value in graph.inputs if value.uses()]
    return Session(model, "cpu", optimize=False)
