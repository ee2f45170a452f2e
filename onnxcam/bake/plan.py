"""Plans: what `bake` adds to a model for one target of its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.windows import Window
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.model.description import ModelDescription
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import Layer
from onnxcam.targets.aim import Aim, Aimed

__all__ = [
    "INPUT",
    "BakePlan",
    "BakeRequest",
    "Emitted",
    "PlanMaker",
    "RepeatedTargets",
    "TargetGroup",
    "add_input",
    "images_of",
    "per_image",
    "refuse_options",
]

INPUT = "input"
"""The target that a host names at run time, by inputs of the baked file."""


@dataclass(frozen=True)
class BakeRequest:
    """What the user wants explained, of which model."""

    network: ModelDescription
    target: int | str = "top"
    layer: str | None = None
    """The layer that the user names; None and ``"auto"`` choose it."""
    count: int | None = None
    """The number of maps, where a task has several; None is the default."""
    threshold: float | str | None = None
    """The least probability of a detection; ``"input"`` for a run-time input, None for the default."""


@dataclass(frozen=True)
class Emitted:
    """What a plan emitted into a graph.

    Attributes:
        targets: The explained scalar of each map.
        outputs: Further outputs of the baked file, by name.
        raw: Outputs that the file has only where the raw map is an output too.
        stacked: The heat map has an axis of maps, [N, K, h, w], even if there is one map.
    """

    targets: Sequence[Aimed]
    outputs: Mapping[str, ir.Value] = field(default_factory=dict)
    raw: Mapping[str, ir.Value] = field(default_factory=dict)
    stacked: bool = False
    repeated: RepeatedTargets | None = None
    """Targets that are explained in one pass, in place of `targets`."""


@dataclass(frozen=True)
class RepeatedTargets:
    """K targets of each image. Those that are in no group have no map.

    Attributes:
        count: K.
        groups: The targets that share a layer.
    """

    count: int
    groups: Sequence[TargetGroup]


@dataclass(frozen=True)
class TargetGroup:
    """M targets that are explained at one layer, in one pass.

    Attributes:
        rows: Their places among all N · K, int64 [M]; N · K is the place of no target. M depends on the image.
        seeds: The tensors to differentiate, and their cotangents [M, …].
        layer: The layer; None: that of the file.
        windows: Further cotangents of tensors, of few elements each.
    """

    rows: ir.Value
    seeds: Mapping[ir.Value, ir.Value]
    layer: Layer | None = None
    windows: Sequence[tuple[ir.Value, Window]] = ()


class BakePlan(Protocol):
    """What is baked for one target."""

    @property
    def aim(self) -> Aim:
        """Return an aim at the explained tensor, by which the layer is chosen."""

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Add the inputs of the target to the model of *subject*; emit the explained scalars and the outputs."""

    def metadata(self) -> Mapping[str, Any]:
        """Return what the file says of the target to its host, as JSON: ``inputs`` has their neutral values."""


PlanMaker: TypeAlias = Callable[[Any, BakeRequest], BakePlan]
"""From a task and a request to a plan; TargetError where the target cannot be baked."""


def add_input(op: Emitter, name: str, shape: Sequence[Any], dtype: ir.DataType) -> ir.Value:
    """Add a run-time input to the graph and return it."""
    value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
    op.graph.inputs.append(value)
    return value


def images_of(op: Emitter, subject: PreparedModel, rows: ir.Value, count: int) -> ir.Value:
    """Return the image of each target, int64 [M], for its place among all N · *count*; the last for no target."""
    last = op.Sub(op.dim(subject.image, 0), op.const(np.array([1])))
    found: ir.Value = op.Min(op.Div(rows, op.const(np.array(count))), last)
    return found


def per_image(op: Emitter, subject: PreparedModel, value: np.ndarray) -> ir.Value:
    """Return *value* for each image of the batch, [N, …]."""
    one = op.const(value[None])
    if isinstance(subject.batch, int):
        return op.const(np.repeat(value[None], subject.batch, axis=0))
    count = op.Shape(subject.image, start=0, end=1)
    return op.Expand(one, op.Concat(count, *([[1]] * value.ndim), axis=0) if value.ndim else count)


def refuse_options(request: BakeRequest, *refused: str) -> None:
    """Raise TargetError where the user gave one of the options *refused*, which the target has not."""
    for name in refused or ("count", "threshold"):
        if getattr(request, name) is not None:
            words = f"{request.network.task.name} with target {request.target!r}"
            raise TargetError(f"{words} takes no {name} (--{name})")
