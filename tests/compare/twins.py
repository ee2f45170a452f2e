"""A reference, candidates that are more or less like it, and images for both."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

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
