"""Bake the explanation into the model: add the output `heatmap`, computed by standard operators."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxcam.bake.lower import lower_opset
from onnxcam.bake.metadata import stamp
from onnxcam.bake.outputs import MapSize, explained
from onnxcam.bake.plan import BakePlan, BakeRequest
from onnxcam.bake.table import find_plan
from onnxcam.engine import Session
from onnxcam.errors import MethodError, ModelError, PreprocessError
from onnxcam.graph.io import ModelLike, building, oldest_ir, save
from onnxcam.graph.subgraph import values
from onnxcam.methods import METHODS, find_method, read_settings
from onnxcam.methods.base import AUTO, NONE, SMOOTH
from onnxcam.methods.settings import require_layer_is_used
from onnxcam.model.channelless import remove_channel_axis
from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import choose_layer
from onnxcam.model.prepared import PreparedModel
from onnxcam.preprocess import Spec
from onnxcam.structure.layer import Choice
from onnxcam.structure.layout import picture_layout
from onnxcam.targets.detection import Detections

__all__ = ["Baked", "bake"]


@dataclass(frozen=True)
class Baked:
    """Result of `bake`."""

    path: Path
    inputs: Mapping[str, str]  # name: type and shape of all inputs
    outputs: Mapping[str, str]  # name: type and shape of the new outputs
    choice: Choice | None
    opset: int
    warnings: tuple[str, ...] = field(default=())


def bake(
    model: ModelLike,
    path: str | os.PathLike[str],
    method: str = AUTO,
    *,
    layer: str | None = None,
    target: int | str = "top",
    map_size: MapSize = "input",
    uint8: bool = False,
    overlay: bool = False,
    preprocess: Spec | None = None,
    inside: bool = False,
    raw: bool = False,
    settings: Mapping[str, Any] | None = None,
    labels: Any = None,
    count: int | None = None,
    threshold: float | str | None = None,
    opset: int | None = None,
    size: tuple[int, int] | None = None,
    text_model: str | os.PathLike[str] | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Baked:
    """Write *model* with its explanation inside to *path*.

    The new model keeps its outputs and gains ``heatmap``: ReLU(map) / max per image, float32 in [0, 1] (with *uint8*, 0
    to 255), [N, h, w] at the resolution of the input or of the *layer*. It runs wherever the model runs.

    Args:
        model: Path, bytes, `onnx.ModelProto` or `onnx_ir.Model`.
        path: File to write.
        method: Explanation method; it must need one pass only. ``"auto"`` takes the task's default, as `Explainer`.
        layer: As for `Explainer`.
        target: ``"top"`` for the top class; ``"input"`` for a new input, ``onnxcam.class`` (int64 [N]; −1: the top
            class); or a fixed class, by index or label.
        map_size: Resolution of the heat map, ``"input"`` or ``"layer"``.
        uint8: Write the heat map as uint8.
        overlay: Add the output ``overlay``, uint8 [N, h, w, 3]: the heat map drawn over the image; requires *inside*.
        preprocess: As for `Explainer`. Only the arithmetic is baked: images must have the input's size.
        inside: Add the preprocessing to the model: the input becomes ``picture``, uint8 RGB [N, h, w, 3].
        raw: Add the outputs ``onnxcam.map``, the raw map, float32 [N, h, w], and ``onnxcam.class.chosen``, its class,
            int64 [N].
        settings: Settings of the method.
        labels: As for `Explainer`.
        count: Number of maps, where a task has several.
        threshold: Least probability of a detection, or ``"input"`` for a new input.
        opset: Older opset to write, for an older runtime.
        size: Height and width to which an open input is fixed. None leaves it open; a detector takes the size of the
            preprocessing.
        text_model: The text tower for a target such as ``like="a dog"``, as for `Explainer`. The text's embedding is
            baked, not the tower.
        tokenizer: As for `Explainer`.
        overwrite: Also replace a file that onnxcam did not write.

    Raises:
        OutputError: *path* is the model or its weights, a file of other origin, or cannot be written.
        MethodError: the method needs several passes (the message lists those that can be baked), or a layer or the
            map size of one is asked for, and it has none.
        OnnxcamError: as for `Explainer`.

    Example:
        >>> bake("model.onnx", "explained.onnx", "gradcam", uint8=True)
    """
    if method != AUTO:
        _require_one_pass(method, settings)  # before the model is read
    if overlay and not inside:
        raise PreprocessError("the overlay lies over the image: bake the preprocessing too, inside=True")
    with building():
        network = _described_model(model, preprocess, labels, size, text_model, tokenizer)
        subject = network.open()
        chosen = find_method(_one_pass_default(network) if method == AUTO else method)
        own = _require_one_pass(chosen.id, settings)
        require_layer_is_used([chosen], layer)
        if map_size == "layer" and not chosen.at_layer:
            raise MethodError(f"the map of {chosen.id} has the input's size, not a layer's; leave out --map-size layer")
        plan = find_plan(BakeRequest(network, target, layer, count, threshold))
        choice = choose_layer(subject, plan.aim, _layer_of(plan, layer)) if chosen.uses_layer else None
        elsewhere = _elsewhere(network, subject, choice)
        made = subject.twin()
        how = network.preprocessing if inside else None
        explained(made, chosen, choice, plan, map_size, own, uint8=uint8, inside=how, overlay=overlay, raw=raw)
        layer_name = choice.layer.name if choice else None
        own_names = [value.name for value in values(subject.model.graph)]
        stamp(made.model, network, method=chosen.id, layer=layer_name, target=target, plan=plan, taken=own_names)
        _forget(made.model)
        remove_channel_axis(made.model)
        _lower(made.model, opset)
        final = made.model
    _prove(final)
    save(final, path, model, overwrite=overwrite)
    return Baked(
        Path(path),
        {value.name or "": _described(value) for value in final.graph.inputs},
        {value.name or "": _described(value) for value in final.graph.outputs if value.name not in network.outputs},
        choice,
        final.opset_imports[""],
        (*network.warnings, *elsewhere),
    )


def _layer_of(plan: BakePlan, layer: str | None) -> str | None:
    """Return the name of the layer that the user or *plan* states."""
    return layer if layer not in (None, AUTO) else getattr(plan, "layer", layer)


def _described_model(
    model: ModelLike,
    preprocess: Spec | None,
    labels: Any,
    size: tuple[int, int] | None,
    text_model: str | os.PathLike[str] | None,
    tokenizer: str | os.PathLike[str] | None,
) -> ModelDescription:
    """Describe *model*, fixed to *size*. A detector of an open size is fixed to the one of its preprocessing."""
    network = ModelDescription(model, "cpu", preprocess, labels, size=size, text_model=text_model, tokenizer=tokenizer)
    layout, is_detector = network.layout, isinstance(network.task, Detections)
    if layout is None or not is_detector or all(isinstance(length, int) for length in layout.size(network.image)):
        return network
    stated = network.preprocessing.fixed_size
    if stated is None:
        raise ModelError(
            f"the size of the input {network.picture!r} is open, and a detector is baked for one size: name it with "
            "--input-size HEIGHT WIDTH (size=), such as --input-size 640 640"
        )
    fixed = ModelDescription(model, "cpu", preprocess, labels, size=stated)
    fixed.warn(
        f"the size of the input {network.picture!r} is open; the file is baked for {stated[0]} × {stated[1]}, the size "
        f"of the preprocessing{', which is a guess' if network.resolved.guessed else ''}; --input-size names another"
    )
    return fixed


def _require_one_pass(method: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return all settings of *method*; MethodError where it, or one of them, needs several passes."""
    chosen = find_method(method)
    if not chosen.in_graph:
        able = ", ".join(each.id for each in METHODS.values() if each.in_graph)
        raise MethodError(f"{method} asks the network many times and cannot be baked into it; these can: {able}")
    own = read_settings(chosen, settings or {})
    if "aug" in own.get(SMOOTH, NONE):
        raise MethodError("smooth=aug asks the network many times and cannot be baked; use smooth=eigen, or none")
    return own


def _one_pass_default(network: ModelDescription) -> str:
    """Return the task's default method, or LayerCAM where that needs several passes."""
    own = network.task.method
    return own if find_method(own).in_graph else "layercam"


def _elsewhere(network: ModelDescription, subject: PreparedModel, choice: Choice | None) -> list[str]:
    """Return a warning if the layer does not cover the input evenly: the baked map is stretched over all of it."""
    layout = picture_layout(subject.image)
    size = () if layout is None else layout.size(subject.image)
    if choice is None or not size or not all(isinstance(length, int) for length in size):
        return []
    found = network.place(subject, choice.layer.value, choice.layer.layout, tuple(size))
    if found is None:
        return []
    rows = ", ".join(f"{low:g} to {high:g}" for low, high in found.intervals)
    why = found.warning or f"its pixels {rows} (height, width), perhaps mirrored"
    return [f"the baked heat map covers a part of the input, {why}, and a host must place it there"]


def _forget(model: ir.Model) -> None:
    """Remove stack traces and paths of the exporting machine."""
    for node in model.graph.all_nodes():
        node.doc_string = None
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)


def _lower(model: ir.Model, opset: int | None) -> None:
    """Lower *model* to *opset*, if that is older, and to the oldest IR version that supports it."""
    now = model.opset_imports[""]
    if opset is not None and opset < now:
        try:
            lower_opset(model, opset)
        except ModelError as error:
            raise ModelError(
                f"the baked model cannot be written in opset {opset}: {error}; it is in opset {now}"
            ) from None
    model.ir_version = oldest_ir(model)


def _prove(model: ir.Model) -> None:
    """Raise EngineError if ONNX Runtime does not load the baked model."""
    Session(model.clone(), "cpu")


def _described(value: ir.Value) -> str:
    return f"{str(value.dtype or '?').lower()} {value.shape or '?'}"
