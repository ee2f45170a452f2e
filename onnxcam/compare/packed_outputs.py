"""The model of a pack for tasks other than classification: the device records its outputs, the host reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.bake.bake import bake
from onnxcam.bake.lower import lower_opset
from onnxcam.compare import device_runner as device
from onnxcam.compare.observer import Observer
from onnxcam.compare.recording_files import NO_MAPS
from onnxcam.errors import EngineError, LayerError, MethodError, ModelError, PreprocessError, TargetError
from onnxcam.graph.io import all_tensors, load, oldest_ir, save
from onnxcam.metadata.reserved import PICTURE, stamp_of
from onnxcam.methods.base import AUTO
from onnxcam.targets.embedding import Embedding
from onnxcam.targets.goal import Look

__all__ = ["PackedOutputs", "pack_outputs"]

_LONGEST = 1000  # numbers of a further input


@dataclass(frozen=True)
class PackedOutputs:
    """What the manifest of a pack says of its model, the method whose maps it computes, and warnings."""

    ends: Mapping[str, Any]
    method: str
    layer: str | None
    warnings: Sequence[str]


def pack_outputs(
    observer: Observer, file: Path, method: str, target: int | str, inside: bool, opset: int | None, words: Any
) -> PackedOutputs:
    """Write the model to *file*: baked, so that it computes maps; as it is, where its task cannot be baked.

    Args:
        observer: The model.
        file: File to write.
        method: Explanation method, as for `bake`.
        target: Target, as for `bake`.
        inside: Whether the model takes images instead of tensors.
        opset: Older opset to write.
        words: Further arguments of `bake`.

    Raises:
        PreprocessError: the model should take images, and cannot be baked.
        ModelError: the model's batch is fixed above 1, or it runs several times for one image.
        OnnxcamError: as for `bake`, where *method* is stated.
    """
    _require_one_image(observer)
    look = _look(observer)
    names = [*observer.network.outputs, *_inner(observer, look)]
    with tempfile.TemporaryDirectory(prefix="onnxcam-") as scratch:
        draft = Path(scratch) / file.name
        model, told = _model(observer, draft, method, target, inside, opset, words)
        _save(observer, model, file, names)
    found = stamp_of(model.metadata_props)
    mapped = _has_maps(model)
    return PackedOutputs(
        _ends(observer, look, model, names, inside) | (_explains(observer, look, target) if mapped else {}),
        str(found.get("method", method)) if mapped else NO_MAPS,
        "by object" if mapped else None,
        told,
    )


def _model(
    observer: Observer, draft: Path, method: str, target: int | str, inside: bool, opset: int | None, words: Any
) -> tuple[ir.Model, list[str]]:
    """Return the baked model, by way of the file *draft*; else the model as it is, and why."""
    settings = {"target": target, "map_size": "layer", "inside": inside, "raw": True, "opset": opset, **words}
    try:
        bake(observer.model, draft, method, **settings)
    except (TargetError, ModelError, MethodError, LayerError, EngineError) as error:
        if isinstance(error, MethodError) and method != AUTO:
            raise
        observer.check(target)
        if inside:
            raise PreprocessError(f"without --images the device takes images, and the model cannot: {error}") from None
        model = observer.network.open().model
        _lower(model, opset)
        return model, [f"the device records no maps: {error}"]
    model = load(draft)
    return model, [] if _has_maps(model) else ["the device records no maps: they are of no detection, class or vector"]


def _require_one_image(observer: Observer) -> None:
    shape = observer.network.image.shape
    batch = None if shape is None else shape[0]
    if isinstance(batch, int) and batch > 1:
        raise ModelError(f"{observer.name} takes {batch} images at once; export it for one, or for any number")


def _look(observer: Observer) -> Look:
    """Return a look at an image of noise."""
    network = observer.network
    lengths = [] if network.layout is None else network.layout.size(network.image)
    height, width = (length if isinstance(length, int) else 224 for length in lengths or (None, None))
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return observer.look(observer.prepare_decoded("noise", picture, ""))


def _inner(observer: Observer, look: Look) -> list[str]:
    """Return tensors inside the graph that the predictions need; ModelError if they need other inputs too."""
    asked: list[str] = []
    fed = {name: array.tobytes() for name, array in look.feeds.items()}

    def run(feeds: Mapping[str, NDArray[Any]], names: Sequence[str] | None) -> Mapping[str, NDArray[Any]]:
        if fed != {name: np.asarray(array).tobytes() for name, array in feeds.items()}:
            raise ModelError(
                f"{observer.name}, {observer.network.task.name}, runs several times for one image: use `onnxcam "
                "record` instead of a pack"
            )
        asked.extend(names or ())
        return look.run(feeds, names)

    observer.observation.predict(observer, replace(look, run=run))
    return [*dict.fromkeys(asked)]


def _has_maps(model: ir.Model) -> bool:
    names = [value.name for value in model.graph.outputs]
    return device.MAPS in names and not {device.BOXES, device.CHOSEN, device.COSINE}.isdisjoint(names)


def _lower(model: ir.Model, opset: int | None) -> None:
    if opset is not None and opset < model.opset_imports[""]:
        lower_opset(model, opset)
    model.ir_version = oldest_ir(model)


def _save(observer: Observer, model: ir.Model, file: Path, names: Sequence[str]) -> None:
    """Save *model* with the tensors *names* as outputs, and with its card and labels."""
    there, tensors = {value.name for value in model.graph.outputs}, all_tensors(model.graph)
    model.graph.outputs.extend(tensors[name] for name in names if name not in there)
    network = observer.network
    card = network.names.card
    (card if network.class_names is None else replace(card, labels=list(network.class_names))).put(model)
    save(model, file, observer.model, overwrite=True)


def _ends(observer: Observer, look: Look, model: ir.Model, names: Sequence[str], inside: bool) -> dict[str, Any]:
    """Return names of the inputs and outputs of the packed model."""
    network, there = observer.network, [value.name for value in model.graph.outputs]
    extras = (device.MAPS, device.CHOSEN, device.COSINE, device.BOXES, device.SCORES, device.CLASSES)
    return {
        "input": PICTURE if inside else network.picture,
        "wanted": None,
        "arrays": [*names],
        "outputs": [*names, *(name for name in extras if name in there and name not in names)],
        "space": [1, 2] if inside else [*look.space],
        "feeds": {name: _feed(name, array) for name, array in look.feeds.items() if name != network.picture},
    }


def _explains(observer: Observer, look: Look, target: int | str) -> dict[str, str]:
    """Return the target of the vectors that a packed embedding is compared with, in the words of other recordings."""
    return {"explains": observer.resolve(str(target), look).words} if isinstance(observer.task, Embedding) else {}


def _feed(name: str, array: NDArray[Any]) -> dict[str, Any]:
    if array.size > _LONGEST:
        raise ModelError(
            f"the input {name!r} has {array.size} numbers, too many for a pack: record with `onnxcam record`"
        )
    return {"dtype": array.dtype.name, "values": array.tolist()}
