"""The report of `onnxcam inspect`: a model's inputs, outputs, task, layers and the methods that apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import dependents
from onnxcam.errors import LayerError, OnnxcamError, TargetError
from onnxcam.graph.io import ModelLike
from onnxcam.media.volume import SCALINGS
from onnxcam.metadata.reading import Reading
from onnxcam.metadata.reserved import load_bare, stamp_of
from onnxcam.methods import METHODS, Method, explanation_graph
from onnxcam.methods.libraries import missing
from onnxcam.methods.plugins import load_installed
from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import choose_layer
from onnxcam.model.invalid import explaining_invalid_models
from onnxcam.model.prepared import PreparedModel
from onnxcam.model.signal_modality import SCALINGS as SIGNAL_SCALINGS
from onnxcam.paths import PathLike
from onnxcam.structure.layer import Choice, Layer
from onnxcam.structure.stages import named_layers
from onnxcam.targets import Aim, Scores, Task
from onnxcam.targets.classification import Classes
from onnxcam.targets.descriptions import Descriptions
from onnxcam.targets.detection import Detections
from onnxcam.targets.kinds import Group
from onnxcam.text_towers import TextTower

__all__ = ["TRIED", "ClassList", "LayerRow", "ModelReport", "Row", "SaidOfModel", "class_list", "every_layer", "survey"]

Row = tuple[str, str, str]

TRIED = 10_000
"""Methods are tried on models of up to this number of nodes."""


@dataclass
class ModelReport:
    """What `survey` found.

    Attributes:
        opset: The version of the default domain.
        producer: The name and the version of the exporter.
        nodes: The number of nodes, subgraphs excluded.
        baked: The explanation that `bake` added, as text; empty for none.
        operators: The number of nodes by operator, the most frequent first.
        inputs: (name, dtype, shape) of each input.
        outputs: (name, dtype, shape) of each output.
        without_rule: The operators behind the image that have no gradient rule.
        preprocess: The preprocessing that would be used.
        task: The likeliest task.
        targets: The targets of each task, as text.
        scores: Of a classifier the tensor of class scores, as text.
        layers: (name, tensor, size) of each candidate layer; the first is the default.
        reason: Why the first layer is the default.
        methods: For each method's id why it does not apply; empty if it applies.
        class_independent: The methods that apply, and whose maps hardly depend on the target.
        caveats: For methods that apply when their maps are blank, and what to try then.
        reading: What was read of the model, and how each part is known.
        warnings: What the user should know.
    """

    opset: int
    producer: str
    nodes: int
    baked: str
    operators: dict[str, int]
    inputs: list[Row] = field(default_factory=list)
    outputs: list[Row] = field(default_factory=list)
    without_rule: list[str] = field(default_factory=list)
    preprocess: str = ""
    task: str = ""
    targets: list[str] = field(default_factory=list)
    scores: str = ""
    layers: list[Row] = field(default_factory=list)
    reason: str = ""
    methods: dict[str, str] = field(default_factory=dict)
    class_independent: list[str] = field(default_factory=list)
    caveats: dict[str, str] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)
    warnings: list[str] = field(default_factory=list)


def every_layer(path: PathLike, **said: Unpack[SaidOfModel]) -> list[LayerRow]:
    """Return every layer of the model at *path* that can be named, from the image on.

    The automatic choice is for the default target. OnnxcamError where the model has none.
    """
    with explaining_invalid_models(path):
        description = _description(path, said)
        prepared, aim = description.open(), description.tasks[0].aim
        if aim is None:
            raise LayerError(f"{path}: {description.tasks[0].name} has no default target, so no layers are on its way")
        feeds = description.probe_feeds() if _is_open(prepared.image) else None
        chosen: Choice | None = None
        with suppress(OnnxcamError):
            chosen = choose_layer(prepared, aim, None, feeds)
        graph, located = prepared.model.graph, () if chosen is None else (chosen.layer, *chosen.others)
        return [
            LayerRow(
                one.stage,
                one.names,
                one.layer.tensor,
                one.layer.size,
                one.channels,
                one.operator,
                chosen is not None and one.layer.value is chosen.layer.value,
            )
            for one in named_layers(graph, prepared.image, aim.locate(graph), STANDARD, located)
        ]


@dataclass(frozen=True)
class LayerRow:
    """A layer that can be named: its stage, its names, its tensor, its size in words, and whether `auto` takes it."""

    stage: int
    names: tuple[str, ...]
    tensor: str
    grid: str
    channels: str
    operator: str
    auto: bool


@dataclass(frozen=True)
class ClassList:
    """The names of a model's classes, whether a target may be a group of them, and whether the names are a guess."""

    names: list[str]
    has_groups: bool
    guessed: bool


def class_list(path: PathLike, labels: PathLike | None = None, task: str | None = None) -> ClassList:
    """Return the classes of the model at *path*; TargetError where their names are not known.

    *labels* is a file of names, *task* what the model does; None reads them from the file.
    """
    description = _description(path, {"labels": labels, "task": task})
    found = description.class_names
    if not found:
        raise TargetError(f"{path}: no names of classes are known; give them with --labels FILE, one a line")
    return ClassList(list(found), Group in description.task.resolvers, description.names.origin(len(found)) == "guess")


def survey(path: ModelLike, **said: Unpack[SaidOfModel]) -> ModelReport:
    """Return what the model, or that at *path*, is, with what the user *said* of it.

    What cannot be found out is a warning. ModelError if the model is invalid; OnnxcamError if what was said does not
    fit it.
    """
    with explaining_invalid_models(path):
        return _survey(path, said)


class SaidOfModel(TypedDict, total=False):
    """What the user says of a model; None where nothing is said. See `onnxcam.Explainer`."""

    labels: PathLike | None
    task: str | None
    scores_output: str | None
    boxes_output: str | None
    letters: str | None
    preprocess: str | None


def _description(path: ModelLike, said: SaidOfModel) -> ModelDescription:
    parts = {
        "task": said.get("task"),
        "scores": said.get("scores_output"),
        "boxes": said.get("boxes_output"),
        "letters": said.get("letters"),
    }
    return ModelDescription(
        path,
        "cpu",
        preprocess=said.get("preprocess"),
        labels=said.get("labels"),
        said={name: value for name, value in parts.items() if value is not None},
    )


def _survey(path: ModelLike, said: SaidOfModel) -> ModelReport:
    model = load_bare(path)
    operators = Counter(f"{node.domain}::{node.op_type}".removeprefix("::") for node in model.graph.all_nodes())
    words = (model.producer_name, model.producer_version)
    found = ModelReport(
        opset=model.opset_imports.get("", 0),
        producer=" ".join(word for text in words for word in (text or "").split() if word != "None"),
        nodes=model.graph.num_nodes(),
        baked=_baked(stamp_of(model.metadata_props)),
        operators=dict(operators.most_common()),
    )
    try:
        description = _description(path, said)
        prepared = description.open()
        found.inputs = [_tensor(value) for value in prepared.model.graph.inputs]
        found.outputs = [_tensor(value) for value in prepared.model.graph.outputs]
        _inspect_input(found, description, prepared)
        _inspect_methods(found, description, prepared)
    except OnnxcamError as error:
        if any(value is not None for value in said.values()):
            raise
        found.warnings.append(str(error))
        found.inputs = found.inputs or [_tensor(value) for value in model.graph.inputs]
        found.outputs = found.outputs or [_tensor(value) for value in model.graph.outputs]
        tower = TextTower.of(path, model, None, "cpu")
        found.reading = found.reading or Reading([] if tower is None else tower.reading)
        found.methods = dict.fromkeys(METHODS, "see the warning")
    return found


def _baked(stamp: Mapping[str, Any]) -> str:
    where = f" at {stamp['layer']}" if stamp.get("layer") else ""
    return f"{stamp['method']}{where}, target {stamp.get('target')}" if stamp.get("method") else ""


def _inspect_input(found: ModelReport, description: ModelDescription, prepared: PreparedModel) -> None:
    graph = prepared.model.graph
    active = dependents(graph, [prepared.image], STANDARD)
    behind = [node for node in graph if not active.isdisjoint(node.outputs)]
    found.without_rule = sorted({node.op_type for node in behind if (node.domain, node.op_type) not in STANDARD})
    layout = description.layout
    if layout is not None and len(layout.space) == 3:
        found.preprocess = f"of a volume, by its numbers: one of {', '.join(SCALINGS)}"
        return
    if layout is not None and len(layout.space) == 1:
        found.preprocess = f"of a signal, one of {', '.join(SIGNAL_SCALINGS)}"
        found.warnings = list(description.warnings)
        return
    found.preprocess, found.warnings = str(description.preprocessing), list(description.warnings)


def _inspect_methods(found: ModelReport, description: ModelDescription, prepared: PreparedModel) -> None:
    tasks = description.tasks
    found.warnings += load_installed()
    found.task, aim = tasks[0].name, tasks[0].aim
    found.targets = [f"{task.name}: {task.examples}" for task in tasks]
    found.reading = description.reading
    if isinstance(tasks[0], Classes):
        found.scores = _scores(tasks[0].scores)
    if aim is None:
        found.methods = dict.fromkeys(METHODS, "name a target")
        return
    choice, why = None, ""
    try:
        choice = choose_layer(prepared, aim, None, description.probe_feeds() if _is_open(prepared.image) else None)
        found.layers, found.reason = [_row(layer) for layer in (choice.layer, *choice.others)], choice.reason
    except OnnxcamError as error:
        why = str(error)
    if prepared.model.graph.num_nodes() > TRIED:
        found.warnings.append(f"the model has more than {TRIED} nodes: which methods apply was not tried")
        return
    found.methods = {
        method.id: why if method.uses_layer and choice is None else _refusal(prepared, method, choice, aim, tasks[0])
        for method in METHODS.values()
    }
    applying = [method for method in METHODS.values() if not found.methods[method.id]]
    found.class_independent = [method.id for method in applying if method.class_independent]
    found.caveats = {method.id: method.caveat for method in applying if method.caveat}


def _refusal(prepared: PreparedModel, method: Method, choice: Choice | None, aim: Aim, task: Task) -> str:
    """Return why *method* does not apply; an empty string if it applies."""
    if method.needs_detections and not isinstance(task, Detections):
        return f"{method.id} compares detections, but the model is {task.name}; use --method rise"
    if method.needs_words and not isinstance(task, Descriptions):
        return f"{method.id} explains words, but the model is {task.name}; use --method gradcam"
    twin = prepared.twin()
    try:
        explanation_graph(
            twin, method, [choice.layer.in_graph(twin.model.graph)] if choice and method.uses_layer else [], aim
        )
    except OnnxcamError as error:
        return str(error)
    return missing(method)


def _is_open(image: ir.Value) -> bool:
    """Whether the sizes of the picture are open."""
    return image.shape is not None and any(not isinstance(length, int) for length in image.shape[1:])


def _scores(scores: Scores) -> str:
    return f"{scores.value.name!r}, {scores.classes} classes, " + (
        f"before {scores.head}" if scores.head else "the output itself"
    )


def _tensor(value: ir.Value) -> Row:
    return value.name or "", str(value.dtype or "?").lower(), str(value.shape or "?")


def _row(layer: Layer) -> Row:
    return layer.name, layer.tensor, layer.size
