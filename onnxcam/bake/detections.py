"""The plan of a detector: the K best detections, decoded in the graph, and a map for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.window_elements import KnownPlace
from onnxcam.autodiff.windows import Window
from onnxcam.bake.plan import INPUT, BakeRequest, Emitted, RepeatedTargets, TargetGroup, add_input, images_of
from onnxcam.errors import ModelError, TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.metadata.reserved import BOXES, CLASSES, SCORES, THRESHOLD
from onnxcam.model import probes
from onnxcam.model.description import ModelDescription
from onnxcam.model.levels import HeadLevels
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import Layer
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detection import MIN_PROBABILITY, SAME_OBJECT, Detections
from onnxcam.targets.detectors.in_graph import (
    GraphCandidates,
    GraphDetections,
    emit_candidates,
    emit_detections,
    emit_elements,
    emit_weights,
)
from onnxcam.targets.goal import Look

__all__ = ["COUNT", "DetectionPlan", "LevelLayer", "detection_plan"]

COUNT = 10
"""The default number of detections of each image."""


@dataclass(frozen=True)
class DetectionPlan:
    """The scores of the *count* best detections.

    Attributes:
        network: The model.
        task: Its task.
        count: The number of detections of each image.
        threshold: The least probability of a detection; None for a run-time input.
        layer: The layer that the user names.
    """

    network: ModelDescription
    task: Detections
    count: int = COUNT
    threshold: float | None = MIN_PROBABILITY
    layer: str | None = None

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return self.task.aim

    def metadata(self) -> Mapping[str, Any]:
        """Return the number of detections, and their threshold."""
        inputs = {} if self.threshold is not None else {"inputs": {THRESHOLD: [MIN_PROBABILITY]}}
        return {"detections": {"count": self.count, "threshold": self.threshold}, **inputs}

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the detections, and the score of each."""
        tensors, names = all_tensors(op.graph), self.task.decoder.tensors
        samples = _with_rows([look.tensors(names) for look in self._looks])
        given = [tensors[name] for name in names]
        seen = emit_candidates(op, self.task.candidates, given, samples, subject.batch, self._looks[0].size)
        self._check(seen)
        found = emit_detections(op, seen, self.count, self._least(op), SAME_OBJECT)
        outputs = {BOXES: found.boxes, SCORES: found.scores, CLASSES: found.classes}
        for name, value in outputs.items():
            value.shape = ir.Shape([subject.batch, self.count, *([4] if name == BOXES else [])])
        groups = [self._group(op, subject, seen, found, *one) for one in self._levels(op, seen, found)]
        return Emitted([], outputs, stacked=True, repeated=RepeatedTargets(self.count, groups))

    def _group(
        self,
        op: Emitter,
        subject: PreparedModel,
        seen: GraphCandidates,
        found: GraphDetections,
        level: LevelLayer,
        here: ir.Value,
    ) -> TargetGroup:
        """Return the detections *here*, bool [N, K], as targets at the layer of their level."""
        rows = self._rows(op, here)

        def taken(value: ir.Value, beyond: Any) -> ir.Value:
            every = op.Concat(op.Reshape(value, [-1]), op.const(np.array([beyond])), axis=0)
            return op.Unsqueeze(op.Gather(every, rows, axis=0), [1])

        own = replace(
            found,
            candidates=taken(found.candidates, 0),
            classes=taken(found.classes, 0),
            found=taken(found.found, False),
        )
        windows = (
            None
            if seen.count is None
            else self._windows(op, seen, own, images_of(op, subject, rows, self.count), level)
        )
        if windows is not None:
            return TargetGroup(rows, {}, level.layer, windows)
        weights = emit_weights(op, seen, own, all_tensors(op.graph))
        seeds = dict(aim.cotangent(op, one) for aim, one in weights if not level.aims or aim in level.aims)
        return TargetGroup(rows, seeds, level.layer)

    def _windows(
        self, op: Emitter, seen: GraphCandidates, found: GraphDetections, images: ir.Value, level: LevelLayer
    ) -> list[tuple[ir.Value, Window]] | None:
        """Return the cotangents of the elements of the scores; None where a tensor has no first axis of images."""
        parts = [
            aim.windows(op, images, elements, level.places.get(aim, ()))
            for aim, elements in emit_elements(op, seen, found)
            if not level.aims or aim in level.aims
        ]
        known = [part for part in parts if part is not None]
        return [*chain(*known)] if len(known) == len(parts) else None

    def _rows(self, op: Emitter, here: ir.Value) -> ir.Value:
        """Return the places of the detections *here*, bool [N, K], among all, int64 [M].

        The last one is N · K, behind all, where nothing is: older runtimes refuse tensors without elements.
        """
        some = op.Concat(op.Reshape(here, [-1]), op.const(np.array([True])), axis=0)
        rows: ir.Value = op.Squeeze(op.NonZero(some), [0])
        return rows

    @cached_property
    def _looks(self) -> Sequence[Look]:
        """The probe images: plain ones, where nothing is, and others."""
        network, size = self.network, tuple(int(n) for n in self._size())
        plain = [np.full((*size, 3), value, np.uint8) for value in (0, 128, 255)]
        images = [network.modality.read(image) for image in (*plain, *probes.images((size[0], size[1])))]
        return [network.look(network.modality.tensor(image), None, {}) for image in images]

    def _size(self) -> tuple[Any, ...]:
        layout = self.network.layout
        size = () if layout is None else tuple(layout.size(self.network.image))
        if not size or not all(isinstance(length, int) for length in size):
            raise ModelError(
                f"the size of the input {self.network.picture!r} is open; a detector is baked for one size: "
                "export the model with a fixed size"
            )
        return size

    def _check(self, seen: GraphCandidates) -> None:
        if seen.count is not None and self.count > seen.count:
            raise TargetError(f"the model proposes {seen.count} boxes, fewer than {self.count} (--count)")

    def _least(self, op: Emitter) -> ir.Value:
        if self.threshold is not None:
            return op.const(np.array([self.threshold], np.float32))
        return add_input(op, THRESHOLD, [1], ir.DataType.FLOAT)

    def _levels(self, op: Emitter, seen: GraphCandidates, found: GraphDetections) -> list[tuple[LevelLayer, ir.Value]]:
        """Return the layers that `explain` takes, each with the detections of its levels, bool [N, K]."""
        head = HeadLevels(self.network)
        if self.layer not in (None, "auto") or seen.corners is None:
            return [(LevelLayer(None, places=head.places()), found.found)]
        levels, places = head.levels()
        layers = [head.choice(level).layer.in_graph(op.graph) for level in levels]
        each = {layer.tensor: LevelLayer(layer) for layer in layers}
        for level, layer in zip(levels, layers, strict=True):
            each[layer.tensor].aims.append(level[0])
        if len(each) == 1 or not len(places):
            return [(replace(one, places=head.places()), found.found) for one in each.values()]
        numbers = np.array([list(each).index(layer.tensor) for layer in layers])[places]
        at = op.Gather(op.const(numbers), found.candidates)
        return [
            (
                replace(one, places=head.places(np.flatnonzero(numbers == number))),
                op.And(found.found, op.Equal(at, op.const(np.array(number)))),
            )
            for number, one in enumerate(each.values())
        ]


@dataclass(frozen=True)
class LevelLayer:
    """A layer of levels, and the aims at their scores; no aim: any."""

    layer: Layer | None
    aims: list[WeightsAim] = field(default_factory=list)
    places: dict[WeightsAim, Sequence[KnownPlace]] = field(default_factory=dict)
    """What is known of the places of the elements of these levels in each tensor."""


def _with_rows(samples: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Return those of *samples* that propose anything, if any does."""
    return [sample for sample in samples if all(tensor.size for tensor in sample)] or samples


def detection_plan(task: Detections, request: BakeRequest) -> DetectionPlan:
    """Return the plan of a detector."""
    if request.target != "top":
        raise TargetError(
            f"target {request.target!r} cannot be baked into a detector: it explains its best detections (--count)"
        )
    count = COUNT if request.count is None else request.count
    if count < 1:
        raise TargetError(f"--count is {count}; give the number of detections, 1 or more")
    return DetectionPlan(request.network, task, count, _threshold(request.threshold), request.layer)


def _threshold(given: float | str | None) -> float | None:
    if given is None:
        return MIN_PROBABILITY
    if given == INPUT:
        return None
    try:
        found = float(given)
    except ValueError:
        found = -1
    if not 0 <= found <= 1:
        raise TargetError(f"--threshold is {given!r}; give a probability from 0 to 1, or input")
    return found
