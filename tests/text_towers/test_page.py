"""docs/words.md is true: its commands run, and its Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.media import image
from tests.command import Ran
from tests.compare.tasks.twins import rounded
from tests.docs_pages import PICTURE, follow
from tests.text_towers.towers import two_towers, words

MODELS = Path(__file__).parents[2] / "models"


def test_the_page(onnxcam: Callable[..., Ran]) -> None:
    pytest.importorskip("pyarrow", reason="the extra onnxcam[batch] is not installed")
    for name in ("clip_image.onnx", "clip_text.onnx", "clip_text.tokenizer.json"):
        shutil.copy(MODELS / name, ".")
    for folder in ("clip", "photos"):
        Path(folder).mkdir()
    two_towers(Path("clip", "model.onnx"))
    words(Path("clip"))
    for picture in ("scene.png", "photo.jpg", "photos/1.png"):
        image.write(Path(picture), image.read(PICTURE))
    rounded(Path("clip_image.onnx"), Path("clip_int8.onnx"))
    assert len(follow("words.md", onnxcam)) == 8
    notes = [entry["note"] for entry in json.loads(Path("onnxcam-out/manifest.json").read_text("utf-8"))]
    wanted = "like 'a photo of a dog' (7 tokens: <start> a ? ? a dog <end>), unlike"
    assert any(note.startswith(wanted) for note in notes)


def test_the_shipped_towers_find_what_is_asked_for() -> None:
    """A black star, a yellow circle, a purple ring, an orange cross: each text has its peak on its own object."""
    truth = json.loads(PICTURE.with_name("shapes_truth.json").read_text("utf-8"))[PICTURE.name]
    colours = {"star": "a black", "circle": "a yellow", "ring": "a purple", "cross": "an orange"}
    own = Explainer(MODELS / "clip_image.onnx", text_model=MODELS / "clip_text.onnx")
    for thing in truth:
        map = own(PICTURE, f'like="{colours[thing["label"]]} {thing["label"]}"').map
        y, x = np.unravel_index(map.argmax(), map.shape)
        x1, y1, x2, y2 = thing["box"]
        assert x1 <= x < x2, thing
        assert y1 <= y < y2, thing
