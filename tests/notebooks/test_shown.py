"""What results show of themselves in a notebook."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from onnxcam import Explainer, Explanation
from onnxcam.media.signal import Signal
from onnxcam.metrics.evaluation import evaluate
from tests.batching.pictures import ASSETS, SHAPES
from tests.compare.validations import PHOTO, pair, validation

HOSTILE = "<script>alert(1)</script>\"'&\u202e"
PICTURE = str(ASSETS / "shapes_1.png")


class Page(HTMLParser):
    """Reads HTML, and asserts that each element is closed; *tags* are those opened, *words* the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.open, self.words, self.images = list[str](), list[str](), "", list[dict[str, str | None]]()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [] if tag == "img" else [tag]
        self.images += [dict(attrs)] if tag == "img" else []
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + "\n"


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(SHAPES)


@pytest.fixture(scope="module")
def explained(explainer: Explainer) -> Explanation:
    return explainer(PICTURE)


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))


def test_an_explanation_shows_its_overlay_and_what_it_is_of(explained: Explanation) -> None:
    page = Page(explained._repr_html_())
    assert explained.label is not None
    for word in (explained.label, f"{explained.probability:.1%}", explained.method, explained.layer, "layer"):
        assert str(word) in page.words
    overlay, bar = page.images
    assert all(image["alt"] for image in page.images)
    shown = decoded(base64.b64decode(str(overlay["src"]).partition(",")[2]))
    assert np.abs(shown.astype(float) - decoded(explained._repr_png_())).mean() < 4  # JPEG, which is smaller
    assert 224 <= max(shown.shape) <= 320
    assert (bar["width"], bar["height"]) == ("128", "10")
    assert "height:10px" in str(bar["style"])  # notebooks set `height: auto`, which overrides the attribute


def test_a_large_overlay_is_made_smaller(explained: Explanation) -> None:
    large = replace(explained, image=np.zeros((500, 1000, 3), np.uint8), map=np.zeros((500, 1000), np.float32))
    assert decoded(large._repr_png_()).shape == (160, 320, 3)


def test_a_signed_map_has_a_bar_of_both_ends(explained: Explanation) -> None:
    signed = replace(explained, map=np.where(explained.map > 0.5, -explained.map, explained.map))
    assert "−1" in Page(signed._repr_html_()).words


def test_a_signal_and_words_show_themselves(explained: Explanation) -> None:
    line = np.linspace(0, 1, 50, dtype=np.float32)
    signal = replace(explained, signal=Signal(line[None], 10.0, ("a",)), image=line[None], map=line)
    assert decoded(signal._repr_png_()).shape[1] == 640
    words = replace(explained, parts=("a", HOSTILE), map=line[:2])
    assert len(Page(words._repr_html_()).images) == 2


def test_text_is_escaped(explained: Explanation) -> None:
    texts = {"label": HOSTILE, "words": HOSTILE, "layer": HOSTILE, "note": HOSTILE, "warnings": (HOSTILE,)}
    shown = [replace(explained, **texts)._repr_html_()]  # type: ignore[arg-type]
    found = validation([pair(PHOTO, 0.1), pair(PHOTO, 0.9)])
    shown.append(
        replace(
            found, warnings=[HOSTILE], doubt=HOSTILE, candidate=replace(found.candidate, name=HOSTILE)
        )._repr_html_()
    )
    for text in shown:
        page = Page(text)
        assert "script" not in page.tags
        assert "<script>alert(1)</script>\"'&\\u202e" in page.words


def test_a_validation_shows_its_verdict_and_the_worst_images() -> None:
    found = validation([pair(PHOTO, moved) for moved in (0.1, 0.2, 0.9, 0.3, 0.4)])
    text = found._repr_html_()
    page = Page(text)
    assert found.verdict in page.words
    assert all(name in page.words for name in found.summaries)
    assert len(page.images) == 3 * 4  # image, both maps, difference
    assert len(text) < 200_000
    assert Page(validation([pair("gone.png")])._repr_html_()).words.count("–")


def test_an_evaluation_shows_means_by_method() -> None:
    found = evaluate(SHAPES, [PICTURE], methods=["gradcam", "layercam"], metrics=["complexity"])
    page = Page(found._repr_html_())
    assert re.search(r"gradcam\s+layercam", page.words)
    for one in found.summary():
        assert f"{one.mean:.3f}" in page.words


def test_a_reading_marks_its_guesses(explainer: Explainer) -> None:
    page = Page(explainer._repr_html_())
    assert {"task", "preprocessing", "layer"} <= {line.removeprefix("⚠ ") for line in page.words.splitlines()}
    marked = [f"⚠ {part.name}" for part in explainer.reading if part.guessed]
    assert [line for line in page.words.splitlines() if line.startswith("⚠ ")][: len(marked)] == marked
