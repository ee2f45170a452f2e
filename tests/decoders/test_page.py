"""docs/decoders.md is true: its commands and its Python run; the describer of models/ points at what it says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # the world is drawn where its networks are described
pytest.importorskip("tokenizers")
from models.measure_describer import by_attention, by_method, measure, scenes
from models.train_describer import HERE
from onnxcam.media import image
from tests.command import Ran
from tests.docs_pages import follow


def test_the_page(onnxcam: Callable[..., Ran]) -> None:
    shutil.copytree(HERE, "describer")
    scene = list(scenes(2))[1]
    image.write("shapes.png", scene.scene.image)
    shutil.copytree(HERE, "describer-int8")
    Path("photos").mkdir()
    image.write("photos/shapes.png", scene.scene.image)
    ran = follow("decoders.md", onnxcam)
    assert len(ran) == 4
    for words in (words for words in ran if words[1] == "explain"):
        assert Path(words[-1], "words.html").is_file()
        assert Path(words[-1], "shapes-words.png").is_file()
    assert Path("out-python").is_dir()


def test_words_point_better_than_raw_attention() -> None:
    told = list(scenes(12))
    attention, own = (measure(name, maps, told) for name, maps in (
        ("attention", by_attention(True)), ("attnlrp", by_method("attnlrp"))))  # fmt: skip
    assert own.pointing >= max(0.75, attention.pointing)
    assert own.energy > attention.energy + 0.1
    assert np.isfinite(attention.pointing)
