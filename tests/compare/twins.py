"""A reference, candidates that are more or less like it, and images for both."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnxcam import Explainer
from onnxcam.compare.outcome import Outcome
from onnxcam.compare.tasks.classification import ClassScores, class_map
from onnxcam.media import image
from onnxcam.media.frame import Frame

ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, TRUTH = ASSETS / "shapes.onnx", ASSETS / "shapes_truth.json"
PICTURES = [ASSETS / "shapes_1.png", ASSETS / "shapes_2.png"]


def noisy(path: Path, share: float, seed: int = 0) -> Path:
    """Write the network of `SHAPES`, to each weight noise of *share* of its tensor's deviation added."""
    model, rng = onnx.load(SHAPES), np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 1:
            noise = share * array.std() * rng.standard_normal(array.shape)
            tensor.CopyFrom(numpy_helper.from_array((array + noise).astype(np.float32), tensor.name))
    onnx.save(model, path)
    return path


def quantize(path: Path, made: Path, pictures: Path, **settings: Any) -> Path:
    """Write the int8 twin of *path* in QDQ form, as ONNX Runtime makes it of what it sees in *pictures*."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    network = Explainer(path)
    name = onnx.load(path).graph.input[0].name
    seen = iter([{name: network.preprocessing(image.read(file))} for file in sorted(pictures.iterdir())])

    class Seen(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            return next(seen, None)

    quantize_static(path, made, Seen(), **settings)
    model = onnx.load(made)
    model.metadata_props.extend(onnx.load(path).metadata_props)  # the card, which the quantiser drops
    onnx.save(model, made)
    return made


def spoilt(path: Path, made: Path, at: int, factor: float = 12) -> Path:
    """Write the QDQ file *path* with the scale of its activation number *at* divided by *factor*."""
    model = onnx.load(path)
    node = [one for one in model.graph.node if one.op_type == "QuantizeLinear"][at]
    (scale,) = (x for x in model.graph.initializer if x.name == node.input[1])
    smaller = numpy_helper.to_array(scale) / np.float32(factor)
    model.graph.initializer.append(numpy_helper.from_array(smaller.astype(np.float32), "smaller"))
    for each in model.graph.node:
        if each is node or (each.op_type == "DequantizeLinear" and each.input[0] == node.output[0]):
            each.input[1] = "smaller"
    onnx.save(model, made)
    return made


def photos(folder: Path, count: int) -> Path:
    """Write *count* different images of shapes into *folder*."""
    folder.mkdir(exist_ok=True)
    originals = [image.read(path) for path in PICTURES]
    for number in range(count):
        image.write(folder / f"{number:05}.png", np.roll(originals[number % 2], 7 * (number // 2), axis=1))
    return folder


def outcome(
    heat: np.ndarray | None,
    scores: tuple[float, ...] = (0.1, 0.7, 0.2),
    target: int = 1,
    frame: Frame | None = None,
    size: tuple[int, int] = (64, 64),
    **told: object,
) -> Outcome:
    """What a model that puts out probabilities says of an image."""
    values = np.array(scores)
    why = str(told.pop("why", ""))
    made: dict[str, object] = {"probabilities": values, "head": "softmax"}
    heat = None if heat is None else np.asarray(heat, np.float32)
    prediction = ClassScores(values.astype(np.float32), **made | told)  # type: ignore[arg-type]
    return Outcome("a.png", "0" * 64, size, prediction, (class_map(target, heat, why),), frame)
