"""Pack what a device needs to record: the baked model, perhaps the pictures, and a runner, in one zip."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import image as reading
from onnxcam.edge import device
from onnxcam.edge.bake import PICTURE, bake
from onnxcam.edge.recording import Recording
from onnxcam.errors import ImageError, OutputError, PreprocessError, RecordingError
from onnxcam.extras import CHOSEN, CLASS, MAP
from onnxcam.network import Network
from onnxcam.preprocess import Preprocess, Spec

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day of zip files: two packs of the same things are the same bytes


@dataclass(frozen=True)
class Packed:
    """What `pack` wrote."""

    path: Path
    pictures: int  # how many are inside, prepared
    layer: str | None
    unreadable: Sequence[tuple[str, str]] = field(default=())
    warnings: Sequence[str] = field(default=())


def pack(
    model: str | os.PathLike[str],
    path: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]] = (),
    method: str = "gradcam",
    *,
    layer: str | None = None,
    target: int | str = "top",
    classes_from: str | os.PathLike[str] | None = None,
    preprocess: Spec | None = None,
    labels: Any = None,
    settings: Mapping[str, Any] | None = None,
    opset: int | None = None,
) -> Packed:
    """Write a zip with *model* baked, and ``run.py``, which records it where only NumPy and ONNX Runtime are.

    Args:
        model: The .onnx file.
        path: The zip to write.
        images: Pictures to bring along, preprocessed; without any the model takes uint8 pictures of its input's size.
        method: A method that is a graph.
        layer: As for `Explainer`.
        target: ``"top"``, ``"input"`` (what ``run.py --class`` says), or a class, as for `bake`.
        classes_from: A recording: of each picture the class is explained that it explained.
        preprocess: As for `Explainer`.
        labels: As for `Explainer`.
        settings: Of the method.
        opset: An older opset to write, for an older runtime.

    Raises:
        OnnxcamError: what `bake` raises; ImageError where no picture can be read; RecordingError for *classes_from*.

    Example:
        >>> pack("model.onnx", "device.zip", ["cat.jpg", "dog.jpg"])
    """
    classes = {} if classes_from is None else Recording(classes_from).explained
    network = Network(model, "cpu", preprocess, labels)
    network.read(network.open())
    aim: int | str = target if classes_from is None else "input"
    bad: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="onnxcam-") as scratch:
        folder = Path(scratch)
        words: dict[str, Any] = {"layer": layer, "preprocess": preprocess, "labels": labels, "settings": settings}
        file = folder / "model.onnx"
        made = bake(model, file, method, target=aim, map_size="layer", inside=not images, raw=True, opset=opset, **words)
        pictures, tensors = _prepare(network, images, folder / "tensors.bin", bad) if images else ([], None)
        for picture in pictures if classes_from else ():
            if picture["sha256"] not in classes:
                raise RecordingError(f"'{classes_from}' has no picture like {picture['name']}; record it there too")
        says = {
            "format": device.PACK,
            "version": device.VERSION,
            "header": header(network, model, method, made.choice, device_provider),
            "file": {"file": file.name, "sha256": device.digest(file)},
            "tensors": tensors,
            "pictures": pictures,
            "input": network.picture if images else PICTURE,
            "size": _size(network),
            "wanted": CLASS if aim == "input" else None,
            "classes": classes,
            "outputs": [network.task.scores.output, MAP, CHOSEN],
            "units": units,
        }
        (folder / "pack.json").write_text(json.dumps(says, indent=1) + "\n", "utf-8")
        (folder / "run.py").write_bytes(Path(device.__file__).read_bytes())
        _zip(sorted(folder.iterdir()), Path(path))
    layer_name = None if made.choice is None else made.choice.layer.name
    return Packed(Path(path), len(pictures), layer_name, bad, [*dict.fromkeys([*network.warnings, *made.warnings])])


def _prepare(
    network: Network, images: Sequence[str | os.PathLike[str]], path: Path, bad: list[tuple[str, str]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write the pictures' tensors to *path*, one behind the other; return what is to be known of each, and of all."""
    pictures: list[dict[str, Any]] = []
    shape: tuple[int, ...] = ()
    with path.open("wb") as file:
        for name in images:
            try:
                pixels = reading.read(name)
            except ImageError as error:
                bad.append((str(name), str(error)))
                continue
            tensor = network.medium.tensor(pixels)[0]
            if tensor.shape != (shape or tensor.shape):
                raise PreprocessError(
                    f"{name} became a tensor {list(tensor.shape)}, the pictures before it {list(shape)}; "
                    "add crop=HxW to the preprocessing"
                )
            shape = tensor.shape
            file.write(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
            frame = network.medium.frame(pixels)
            picture = {"name": str(name), "sha256": device.digest(Path(name)), "size": list(pixels.shape[:2])}
            pictures.append(picture if frame is None else {**picture, "frame": list(astuple(frame))})
    if not pictures:
        raise ImageError(f"none of the {len(bad)} pictures can be read; the first: {bad[0][1]}")
    dtype = tensor.dtype.newbyteorder("<").str
    return pictures, {"file": path.name, "dtype": dtype, "shape": [len(pictures), *shape], "sha256": device.digest(path)}


def _zip(files: Sequence[Path], path: Path) -> None:
    """Write *files* as a zip, whole or not at all; equal files make equal bytes."""
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w") as made:
            for file in files:
                entry = zipfile.ZipInfo(file.name, _EPOCH)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                with file.open("rb") as source, made.open(entry, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror}; choose another file with -o") from None
    finally:
        part.unlink(missing_ok=True)
