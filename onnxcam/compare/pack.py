"""Write a zip for recording on a device: the baked model, optional preprocessed images, and a runner."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam import files
from onnxcam.bake.bake import bake
from onnxcam.bake.outputs import MapSize
from onnxcam.compare import device_runner as device
from onnxcam.compare.compare_recordings import differing_cuts, guesses, with_geometry
from onnxcam.compare.observer import Observer, require_classifier
from onnxcam.compare.outcome import ModelInfo
from onnxcam.compare.packed_outputs import PackedOutputs, pack_outputs
from onnxcam.compare.record import described, header, meaning_of, prepare_images
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tasks.classification import ClassScores
from onnxcam.deprecation import takes_old_names
from onnxcam.errors import ImageError, MetricError, PreprocessError, RecordingError
from onnxcam.graph.io import files_of
from onnxcam.media.frame import Frame
from onnxcam.metadata.reserved import CHOSEN, CLASS, MAP, PICTURE
from onnxcam.methods import find_method
from onnxcam.methods.base import AUTO
from onnxcam.paths import PathLike
from onnxcam.preprocess import CallablePreprocess, Spec

__all__ = ["Packed", "pack"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed time stamp, so that equal packs have equal bytes


@dataclass(frozen=True)
class Packed:
    """Result of `pack`."""

    path: Path
    pictures: int  # number of images inside, preprocessed
    layer: str | None
    unreadable: Sequence[tuple[str, str]] = field(default=())
    warnings: Sequence[str] = field(default=())


@takes_old_names(classes_from="explain_from")
def pack(
    model: str | os.PathLike[str],
    path: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]] = (),
    method: str = AUTO,
    *,
    layer: str | None = None,
    target: int | str = "top",
    explain_from: str | os.PathLike[str] | None = None,
    preprocess: Spec | None = None,
    labels: Any = None,
    settings: Mapping[str, Any] | None = None,
    opset: int | None = None,
    overwrite: bool = False,
    text_model: str | os.PathLike[str] | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
) -> Packed:
    """Write a zip with the baked *model* and ``run.py``, which records it with only NumPy and ONNX Runtime installed.

    Args:
        model: Path of the .onnx file.
        path: Zip file to write.
        images: Images to include, preprocessed; without any, the baked model takes uint8 images of its input's size.
        method: Explanation method; it must need one pass only. ``"auto"``: that of the task.
        layer: As for `Explainer`.
        target: ``"top"``, ``"input"`` (set by ``run.py --class``), or a class, as for `bake`; of an embedding a
            comparison such as ``like="a dog"``, whose vector is then in the model.
        explain_from: Recording of a classifier; explain each image for the class used in it.
        preprocess: As for `Explainer`.
        labels: As for `Explainer`.
        settings: Settings of the method.
        opset: Older opset to write, for an older runtime.
        overwrite: Also replace a file that onnxcam did not write.
        text_model: As for `Explainer`, likewise *tokenizer*; the device needs neither.

    Raises:
        ImageError: no image can be read.
        RecordingError: *explain_from* cannot be read, lacks an image, or crops and scales images in another way.
        OnnxcamError: as for `bake`.

    Example:
        >>> pack("model.onnx", "device.zip", ["cat.jpg", "dog.jpg"])
    """
    texts: dict[str, Any] = {"text_model": text_model, "tokenizer": tokenizer}
    observer = Observer(model, method, layer, preprocess, labels, "cpu", settings or {}, **texts)
    classifies = observer.prediction is ClassScores
    axes = len(_size(observer))
    if axes != 2 and not images:
        what = "signals" if axes == 1 else "volumes"
        raise ImageError(f"{observer.name} takes {what}, which a pack holds: give them with --images")
    if axes > 2 and not classifies:
        raise MetricError(
            f"a pack of a network of volumes is for classifiers, and {observer.name} is {observer.network.task.name}; "
            "`onnxcam record` records it where onnxcam runs"
        )
    if explain_from is not None and not classifies:
        raise RecordingError(
            "--explain-from is for classifiers: a device explains what its model finds, and `onnxcam compare` pairs it "
            "with the same objects of the reference; of an embedding, name the same --target"
        )
    uncut = "" if images else _uncut(observer)
    classes = {}
    if explain_from is not None:
        reference = Recording(explain_from)
        classes = _explained(reference)
        _require_equal_cuts(reference, replace(observer.info, **({"preprocess": uncut} if uncut else {})))
    aim: int | str = target if explain_from is None else "input"
    bad: list[tuple[str, str]] = []
    inputs: list[PathLike] = [*files_of(model), *images]
    files.require_writable(Path(path), inputs, overwrite=overwrite)
    with files.writing(path), tempfile.TemporaryDirectory(prefix="onnxcam-") as scratch:
        folder = Path(scratch)
        words: dict[str, Any] = {"layer": layer, "preprocess": preprocess, "labels": labels, "settings": settings}
        words |= {name: value for name, value in texts.items() if value is not None}
        file = folder / "model.onnx"
        made = (
            _classifier(observer, file, aim, not images, opset, words)
            if classifies
            else pack_outputs(observer, file, method, target, not images, opset, words)
        )
        pictures, tensors = _prepare(observer, images, folder / "tensors.bin", bad) if images else ([], None)
        for picture in pictures if explain_from else ():
            if picture["sha256"] not in classes:
                raise RecordingError(f"'{explain_from}' has no image like {picture['name']}; record it there too")
        warnings = [*dict.fromkeys([*observer.network.warnings, *made.warnings])]
        stated = None if aim == "input" else str(aim)
        head = header(observer, meaning_of(observer) if classifies else {}, target=stated)
        head["model"] |= {"method": made.method, "layer": made.layer}
        if uncut:
            head["model"]["preprocess"] = uncut
            warnings.append(
                "the device does not crop or scale images, it takes them as they are: record the reference of the same "
                f"images with --preprocess {uncut}"
            )
        manifest = {
            "format": device.PACK,
            "version": device.VERSION,
            "header": head,
            "files": {each.name: device.digest(each) for each in sorted(folder.iterdir())},
            "model": file.name,
            "tensors": tensors,
            "pictures": pictures,
            "classes": classes,
            "warnings": warnings,
            "size": _size(observer),
            **made.ends,
        }
        (folder / "pack.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
        (folder / "run.py").write_bytes(Path(device.__file__).read_bytes())
        _zip(sorted(folder.iterdir()), Path(path), inputs, overwrite=overwrite)
    return Packed(Path(path), len(pictures), made.layer, bad, warnings)


def _explained(recording: Recording) -> dict[str, int]:
    """Return the explained class of each image, by the hash of its file."""
    if recording.classes is None:
        raise RecordingError(f"'{recording.name}' is of a model for {recording.prediction.task}, not of a classifier")
    return {one["sha256"]: recording.objects(row)[0].index or 0 for row, one in enumerate(recording.pictures)}


def _require_equal_cuts(reference: Recording, info: ModelInfo) -> None:
    """Raise RecordingError if the images of the pack are cropped or scaled in another way than the reference's."""
    sides = (f"'{reference.name}'", reference.info), ("this pack", info)
    if cuts := differing_cuts(*sides):
        said = guesses(*sides)
        own, other = info.preprocess, reference.info.preprocess
        raise RecordingError(
            f"{cuts}{said and f' ({said})'}, so that `onnxcam compare` would refuse the run; give `onnxcam pack` "
            f"--preprocess {with_geometry(own, other)}, or record '{reference.name}' again with --preprocess "
            f"{with_geometry(other, own)}"
        )


def _uncut(observer: Observer) -> str:
    """Return the preprocessing without its crop; empty if it leaves images of the input's size as they are."""
    how, (height, width) = observer.network.preprocessing, _size(observer)
    if isinstance(how, CallablePreprocess):
        return ""
    if height and width and how.crop is None and how.frame(height, width) == Frame(0.0, 0.0, width, height):
        return ""
    size = (height, width) if height and width else None
    return str(replace(how, resize=size, crop=None, letterbox=None, longest=None))


def _size(observer: Observer) -> list[int | None]:
    """Return height and width of the input; None where they are open."""
    network = observer.network
    assert network.layout is not None
    lengths = [network.image.shape[axis] if network.image.shape is not None else None for axis in network.layout.space]
    return [length if isinstance(length, int) else None for length in lengths]


def _classifier(
    observer: Observer, file: Path, target: int | str, inside: bool, opset: int | None, words: Any
) -> PackedOutputs:
    """Bake a classifier; return names and properties of the inputs and outputs."""
    scores, method = require_classifier(observer, "a pack").scores, observer.method
    size: MapSize = "layer" if find_method(method).at_layer else "input"
    made = bake(
        observer.model, file, method, target=target, map_size=size, inside=inside, raw=True, opset=opset, **words
    )
    ends = {
        "input": PICTURE if inside else observer.network.picture,
        "wanted": CLASS if target == "input" else None,
        "outputs": [scores.output, MAP, CHOSEN],
        "units": None if scores.output_units is None else scores.output_units.known,
        "pair": scores.is_single,
    }
    return PackedOutputs(ends, method, observer.info.layer, made.warnings)


def _prepare(
    observer: Observer, images: Sequence[str | os.PathLike[str]], path: Path, bad: list[tuple[str, str]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write the input tensors of all images to *path*; return the entries of the images and of the file."""
    pictures: list[dict[str, Any]] = []
    shape: tuple[int, ...] = ()
    with path.open("wb") as file:
        for prepared in prepare_images(observer, images, bad):
            tensor = prepared.tensor[0]
            if tensor.shape != (shape or tensor.shape):
                raise PreprocessError(
                    f"{prepared.picture} became a tensor {list(tensor.shape)}, the images before it {list(shape)}; "
                    "add crop=HxW to the preprocessing"
                )
            shape = tensor.shape
            file.write(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
            pictures.append(described(prepared))
    if not pictures:
        raise ImageError(f"none of the {len(bad)} images can be read; the first: {bad[0][1]}")
    dtype = tensor.dtype.newbyteorder("<").str
    return pictures, {
        "file": path.name,
        "dtype": dtype,
        "shape": [len(pictures), *shape],
        "sha256": device.digest(path),
    }


def _zip(members: Sequence[Path], path: Path, inputs: Sequence[PathLike], *, overwrite: bool) -> None:
    """Write *members* to a zip atomically; equal files give equal bytes."""
    with files.staged(path, inputs, overwrite=overwrite) as draft, zipfile.ZipFile(draft, "w") as made:
        for file in members:
            entry = zipfile.ZipInfo(file.name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with file.open("rb") as source, made.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)
