"""What a model is, and what onnxcam would do with it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxcam import preprocess
from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.rulesets import ruleset
from onnxcam.diagnose import cells_reached
from onnxcam.errors import OnnxcamError
from onnxcam.graph import load
from onnxcam.layer import Choice, Layer, choose
from onnxcam.layout import picture_input
from onnxcam.methods import METHODS, explanation_graph
from onnxcam.passes import canonical
from onnxcam.target import Scores, find_scores


@dataclass(frozen=True)
class Survey:
    """What `survey` found. Rows of tensors are (name, dtype, shape), rows of layers (name, tensor, size)."""

    opset: int
    nodes: int
    producer: str
    inputs: list[tuple[str, str, str]]
    outputs: list[tuple[str, str, str]]
    operators: dict[str, int]
    without_rule: list[str]
    scores: str
    preprocess: str
    layers: list[tuple[str, str, str]]
    reason: str
    methods: dict[str, str]  # id: why it does not apply, or nothing
    warnings: list[str]


def survey(path: str | os.PathLike[str]) -> Survey:
    """Look at the model at *path*. What cannot be found out is said in place; ModelError only for no valid model."""
    rules = ruleset("standard")
    model = load(path)
    opset, producer = (
        model.opset_imports.get("", 0),
        " ".join(word for word in (model.producer_name, model.producer_version) if word and word != "None"),
    )
    operators = Counter(f"{node.domain}::{node.op_type}".removeprefix("::") for node in model.graph.all_nodes())
    nodes = sum(1 for _ in model.graph)
    model = canonical(model, rules)
    graph = model.graph
    scores = spelling = ""
    choice: Choice | None = None
    layers: list[tuple[str, str, str]] = []
    methods: dict[str, str] = {}
    missing: list[str] = []
    warnings: list[str] = []
    try:
        image = picture_input(graph)
        active = dependents(graph, [image], rules)
        missing = sorted(
            {
                node.op_type
                for node in graph
                if not active.isdisjoint(node.outputs) and (node.domain, node.op_type) not in rules
            }
        )
        spelling, warnings = _preprocess(image, Path(path), dict(model.metadata_props))
        found = find_scores(graph)
        scores = f"{found.value.name!r}, {found.classes} classes, " + (
            f"before {found.head}" if found.head else "the output itself"
        )
        choice, why = _choice(model, image, found)
        layers = [_row(layer) for layer in (choice.layer, *choice.others)] if choice else []
        methods = {id: _refusal(path, id, choice, why) for id in METHODS}
    except OnnxcamError as error:
        warnings = [*warnings, str(error)]
        methods = methods or dict.fromkeys(METHODS, "see the warning")
    return Survey(
        opset,
        nodes,
        producer,
        [_tensor(v) for v in graph.inputs],
        [_tensor(v) for v in graph.outputs],
        dict(operators.most_common()),
        missing,
        scores,
        spelling,
        layers,
        choice.reason if choice else "",
        methods,
        warnings,
    )


def _preprocess(image: ir.Value, path: Path, metadata: dict[str, str]) -> tuple[str, list[str]]:
    found, warnings = preprocess.resolve(
        None, preprocess.TensorSpec.of(image), path=path, metadata=metadata, graph_hint=image
    )
    return str(found), warnings


def _choice(model: ir.Model, image: ir.Value, scores: Scores) -> tuple[Choice | None, str]:
    def probe(layers: object) -> list[bool]:
        return cells_reached(model, image, scores, layers)  # type: ignore[arg-type]

    try:
        return choose(model.graph, image, scores.value, ruleset("standard"), None, probe), ""
    except OnnxcamError as error:
        return None, str(error)


def _refusal(path: str | os.PathLike[str], id: str, choice: Choice | None, why: str) -> str:
    """Return why method *id* does not apply, or nothing."""
    method = METHODS[id]
    if method.uses_layer and choice is None:
        return why
    twin = canonical(load(path), ruleset("standard"))
    try:
        image, scores = picture_input(twin.graph), find_scores(twin.graph)
        layer = None
        if method.uses_layer and choice is not None:
            values = {y.name: y for node in twin.graph for y in node.outputs}
            layer = Layer(values[choice.layer.tensor], choice.layer.layout)
        explanation_graph(twin, method, image, layer, scores)
    except OnnxcamError as error:
        return str(error)
    return ""


def _tensor(value: ir.Value) -> tuple[str, str, str]:
    return value.name or "", str(value.dtype or "?").lower(), str(value.shape or "?")


def _row(layer: Layer) -> tuple[str, str, str]:
    return layer.name, layer.tensor, layer.size
