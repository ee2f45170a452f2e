"""Models of several tasks, an image for each, and a run of the baked file beside Python's map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import Explainer
from onnxcam.bake.bake import Baked, bake
from onnxcam.errors import MethodError
from onnxcam.media import image
from tests.bake.baked import ASSETS, session

MODELS = Path(__file__).parents[2] / "models"
Arrays = dict[str, NDArray[Any]]


def shapes(size: tuple[int, int] = (64, 64), shift: int = 0) -> NDArray[np.uint8]:
    """Return an image of shapes, uint8 [H, W, 3] of *size* (height, width)."""
    import cv2

    pixels = image.read(ASSETS / "shapes_1.png")[shift:, 2 * shift :]
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def letters(text: str = "AB12") -> NDArray[np.uint8]:
    """Return an image of *text* for models/reader.onnx."""
    import cv2

    pixels = np.full((32, 128, 3), 40, np.uint8)
    for place, letter in enumerate(text):
        cv2.putText(pixels, letter, (6 + 24 * place, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (230, 230, 230), 2)
    return pixels


def tensors(explainer: Explainer, *images: NDArray[np.uint8]) -> NDArray[Any]:
    return np.concatenate([explainer.network.modality.tensor(one) for one in images])


def flat(explainer: Explainer, raw: NDArray[Any]) -> NDArray[Any]:
    """Return the raw map as a baked file has it: of maps of the input's shape the largest magnitude over channels."""
    layout = explainer.network.layout
    of_input = layout is not None and raw.ndim == layout.rank
    return np.abs(raw).max(axis=layout.channel) if layout is not None and of_input else raw


def run(file: Any, feeds: Arrays) -> Arrays:
    """Return all outputs of *file*, by name."""
    runs = session(file)
    return dict(zip([y.name for y in runs.get_outputs()], runs.run(None, feeds), strict=True))


def baked(model: Path, folder: Path, feeds: Arrays, target: Any = "top", **settings: Any) -> tuple[Baked, Arrays]:
    """Bake *model* with its raw map, of the size of the layer where the method has one, and run the file."""
    how = {"target": target, "raw": True, "overwrite": True, **settings}
    try:
        made = bake(model, folder / "baked.onnx", map_size="layer", **how)
    except MethodError as error:
        if "leave out --map-size layer" not in str(error):  # the method has a layer
            raise
        made = bake(model, folder / "baked.onnx", **how)
    return made, run(made.path, feeds)


def assert_same(found: NDArray[Any], raw: NDArray[Any], tolerance: float = 1e-5) -> None:
    """Require the raw map *found* to be *raw*, to *tolerance* of its maximum, and some of it not to be zero."""
    assert found.shape == raw.shape
    assert raw.max() > 0
    np.testing.assert_allclose(found, raw, atol=tolerance * np.abs(raw).max(), rtol=0)
