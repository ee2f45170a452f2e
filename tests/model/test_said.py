"""What the user says of a model that cannot use it is one line, not ignored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onnxcam import Explainer
from onnxcam.errors import ModelError
from tests.command import Ran

MODELS = Path(__file__).parents[2] / "models"
SHAPES = MODELS.parent / "onnxcam" / "assets" / "shapes.onnx"
PHOTO = SHAPES.with_name("shapes_1.png")


@pytest.mark.parametrize(
    ("model", "said", "message"),
    [
        (SHAPES, {"letters": "abc"}, r"letters \(--letters\) are those of a text recogniser, .* as a classifier"),
        (SHAPES, {"boxes_output": "y:xyxy"}, r"boxes_output \(--boxes-output\) is for detectors, .* as a classifier"),
        (MODELS / "segmenter.onnx", {"letters": "abc"}, r"read as a segmentation: leave it out, or give task .* text$"),
        (MODELS / "detector.onnx", {"letters": "abc"}, r"read as a detector: leave it out, or give task .* text$"),
        (MODELS / "reader.onnx", {"boxes_output": "y"}, r"is for detectors, and the model is read as a text recog"),
    ],
)
def test_what_the_model_cannot_use(model: Path, said: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Explainer(model, provider="cpu", **said)  # type: ignore[arg-type]


def test_the_command_says_it_in_one_line(onnxcam: Callable[..., Ran]) -> None:
    done = onnxcam("explain", SHAPES, PHOTO, "--letters", "abc", "-o", "map.png")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith("error: letters (--letters) are those of a text recogniser")
    assert not Path("map.png").exists()
