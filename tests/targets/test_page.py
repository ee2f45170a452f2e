"""docs/targets.md is true: its commands run, its Python too, and its table has words that parse."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")  # the family's worlds are drawn where its networks are described
from models.family import FOLDER, HELD_OUT
from models.tasks import task
from onnxcam.media import image
from onnxcam.targets.parser import parse
from tests.command import Ran
from tests.docs_pages import DOCS, follow

FILES = {
    "classifier_fc": "scene.png",
    "detector": "scene.png",
    "segmenter": "scene.png",
    "embedder": "face.png",
    "reader": "sign.png",
    "captioner": "shapes.png",
    "answerer": "question.png",
    "upscaler": "small.png",
    "renderer": "view.png",
}


def sample(name: str) -> Mapping[str, Any]:
    """Return the first image of a series that the network never saw, and what belongs to it."""
    found = next(iter(task(name).samples(HELD_OUT, 1)))
    return {**found.feeds, **found.attached}


@pytest.fixture
def folder(onnxcam: Callable[..., Ran]) -> Path:
    """The family's networks and images, under the names that the page gives them."""
    for name, picture in FILES.items():
        shutil.copy(FOLDER / f"{name}.onnx", ".")
        if not Path(picture).exists():
            image.write(picture, np.atleast_3d(sample(name)["image"]).repeat(1 if name != "upscaler" else 3, axis=2))
    image.write("mask.png", np.repeat(sample("segmenter")["mask"][..., None].astype(np.uint8) * 255, 3, axis=2))
    image.write("same.png", sample("embedder")["like"])
    image.write("other.png", sample("detector")["image"])
    return Path.cwd()


def test_the_page(folder: Path, onnxcam: Callable[..., Ran]) -> None:
    assert len(follow("targets.md", onnxcam)) == 17


def test_the_samples_are_of_one_scene() -> None:
    for name in ("classifier_fc", "segmenter"):
        np.testing.assert_array_equal(sample(name)["image"], sample("detector")["image"])


def test_every_target_of_the_table_parses() -> None:
    page = (DOCS / "targets.md").read_text("utf-8")
    table = page[page.index("| model | target") : page.index("Values with blanks")]
    cells = [row.split(" | ")[1] for row in table.strip().splitlines()[2:]]
    words = [word for cell in cells for word in re.findall(r"`([^`]+)`", cell) if word != ".mean()"]
    assert len(words) > 20
    for word in words:
        parse(word, ["tabby", "tiger cat"])
