"""The plan of a detector whose rows have no axis of images: selected in the graph, or all images' rows together.

The scores of such a file are differentiated in two parts: from each detection to the last tensors that have the axis of
images, one small pass for each of K detections; and from there to the layer in one pass for all, as in other detectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import backward, dependents
from onnxcam.autodiff.rulesets import past_rounding
from onnxcam.bake.detections import DetectionPlan, LevelLayer, detection_plan
from onnxcam.bake.plan import BakeRequest, Emitted
from onnxcam.errors import GradientError, LayerError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import rank
from onnxcam.methods.base import AUTO
from onnxcam.methods.repeated import can_repeat
from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import choose_layer
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.choose import located
from onnxcam.structure.layer import Layer
from onnxcam.structure.unplaced import last
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detection import Detections
from onnxcam.targets.detectors.in_graph import GraphCandidates, GraphDetections

__all__ = ["SelectedRowsPlan", "detector_plan"]


@dataclass(frozen=True)
class SelectedRowsPlan(DetectionPlan):
    """The scores of detections whose tensors have no axis of images, by the tensors *before* them that have one.

    *before* names one of these, by which the layer is found.
    """

    before: str = ""

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the last tensor with an axis of images."""
        return WeightsAim(self.before, exact=True)

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the detections, and the gradient of each at the tensors with an axis of images."""
        emitted = super().emit(op, subject)
        assert emitted.repeated is not None
        (group,) = emitted.repeated.groups
        seeds = _pulled_back(op, subject.image, group.seeds, self.count)
        return replace(emitted, repeated=replace(emitted.repeated, groups=[replace(group, seeds=seeds)]))

    def _rows(self, op: Emitter, here: ir.Value) -> ir.Value:
        """Return all K places: each detection has a pass of its own."""
        return op.const(np.arange(self.count))

    def _windows(self, *_: object) -> None:
        """Return None: the rows have no axis of images."""

    def _levels(self, op: Emitter, seen: GraphCandidates, found: GraphDetections) -> list[tuple[LevelLayer, ir.Value]]:
        """Return one layer for all."""
        return [(LevelLayer(None), found.found)]


_Seeds: TypeAlias = "dict[ir.Value, ir.Value]"


def detector_plan(task: Detections, request: BakeRequest) -> DetectionPlan:
    """Return the plan of a detector."""
    plan, network = detection_plan(task, request), request.network
    prepared = network.open()
    graph, image = prepared.model.graph, prepared.image
    aims = _aims(task, network)
    scores = [aim.locate(graph) for aim in aims]
    reach = _Reach.of(graph, image, scores)
    if all(_keeps_images(graph, image, value, reach) for value in scores) or any(_is_plain(prepared, a) for a in aims):
        return plan
    ends = {y: layers for y in _with_images(graph, image, scores, reach) if (layers := _layers(graph, image, y))}
    if not ends:
        return plan
    own = {field.name: getattr(plan, field.name) for field in fields(plan)}
    made = SelectedRowsPlan(**own, before=next(iter(ends)).name or "")
    layer = _common(graph, image, ends) if plan.layer in (None, AUTO) else None
    if layer is None:
        return made
    network.warn(
        f"the rows of {scores[0].name!r} have no axis of images, so all detections are explained at one layer, "
        f"{layer.name}, the last one that all scores are computed from; --layer names another"
    )
    return replace(made, layer=layer.name)


def _aims(task: Detections, network: ModelDescription) -> list[WeightsAim]:
    """Return the aims at all tensors of scores."""
    look = network.look(network.probe_feeds()[network.picture], None, {})
    seen = task.candidates(look.tensors(task.decoder.tensors), look.size)
    return [aim for aim, _ in seen.aim.tensors]


def _is_plain(prepared: PreparedModel, aim: WeightsAim) -> bool:
    """Return whether each tensor between a layer that runs show and the scores has the axis of images."""
    with suppress(LayerError, GradientError):
        choice = choose_layer(prepared, aim, None)
        layers = (choice.layer, *choice.others)
        target = aim.locate(prepared.model.graph)
        return any(can_repeat(prepared.model.graph, [one.value], [target], prepared.image) for one in layers)
    return False


def _layers(graph: ir.Graph, image: ir.Value, scores: ir.Value) -> list[Layer]:
    return located(graph, image, scores, STANDARD, None)


def _common(graph: ir.Graph, image: ir.Value, ends: Mapping[ir.Value, Sequence[Layer]]) -> Layer | None:
    """Return the last layer that all paths from earlier layers to the *ends* pass; None where there is none."""
    active = dependents(graph, [image], STANDARD)
    values = {end: [layer.origin or layer.value for layer in layers] for end, layers in ends.items()}
    for layer in next(iter(ends.values())):
        own = layer.origin or layer.value
        passed = all(
            own in each and last(end, each[each.index(own) :], active) <= {own} for end, each in values.items()
        )
        if passed and can_repeat(graph, [layer.value], list(ends), image):
            return layer
    return None


@dataclass(frozen=True)
class _Reach:
    """What depends on the image, and the layers among it."""

    active: frozenset[ir.Value]
    layers: frozenset[ir.Value]

    @classmethod
    def of(cls, graph: ir.Graph, image: ir.Value, scores: Iterable[ir.Value]) -> _Reach:
        """Return the layers before *scores*."""
        layers = {layer.origin or layer.value for value in scores for layer in _layers(graph, image, value)}
        return cls(frozenset(dependents(graph, [image], STANDARD)), frozenset(layers))


def _keeps_images(graph: ir.Graph, image: ir.Value, value: ir.Value, reach: _Reach) -> bool:
    """Return whether each tensor between the last layers before *value* and itself has the axis of images."""
    layers = last(value, reach.layers, reach.active)
    return bool(layers) and can_repeat(graph, list(layers), [value], image)


def _with_images(graph: ir.Graph, image: ir.Value, scores: Iterable[ir.Value], reach: _Reach) -> list[ir.Value]:
    """Return the last tensors with the axis of images that *scores* are computed from, behind layers."""
    found, seen, stack = list[ir.Value](), set(scores), list(scores)
    while stack:
        value = stack.pop()
        if _keeps_images(graph, image, value, reach):
            found.append(value)
            continue
        node = value.producer()
        new = [x for x in node.inputs if x is not None and x in reach.active and x not in seen] if node else []
        seen.update(new)
        stack += new
    return found


def _pulled_back(op: Emitter, image: ir.Value, seeds: Mapping[ir.Value, ir.Value], count: int) -> _Seeds:
    """Return for tensors with the axis of images the gradients [K, …] of K detections with the cotangents *seeds*."""
    nodes = list(op.graph)
    before = _with_images(op.graph, image, seeds, _Reach.of(op.graph, image, seeds))
    rules = past_rounding(STANDARD, seeds)
    rows = [
        backward(op, {value: _row(op, value, seed, place) for value, seed in seeds.items()}, before, rules, nodes)
        for place in range(count)
    ]
    columns = zip(before, zip(*rows, strict=True), strict=True)
    return {value: op.Concat(*column, axis=0) for value, column in columns if None not in column}


def _row(op: Emitter, value: ir.Value, seed: ir.Value, place: int) -> ir.Value:
    """Return the cotangent of *value* for one of the detections of *seed* [K, …]."""
    has_images = rank(value) == rank(seed)
    return op.Gather(seed, op.const(np.array([place]) if has_images else np.array(place)), axis=0)
