"""Words → one self-contained HTML page: a text, in which each word shows its map."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from onnxcam import files
from onnxcam.compare.report.page import render, template
from onnxcam.describing.sheet import sheet
from onnxcam.describing.words import DescribedImage, described
from onnxcam.explainer.manifest import Entry
from onnxcam.media import image as pictures
from onnxcam.text import visible

__all__ = ["PAGE", "html", "write_words"]

PAGE = "words.html"
_SHOWN = 100
"""Images on a page."""
_LARGE, _SMALL = 640, 224
"""Longer side of a picture in pixels, of the large one and of the small ones."""


def write_words(entries: Sequence[Entry], folder: Path, prompt: str, *, overwrite: bool = False) -> list[Path]:
    """Write the page of the words in *entries*, and for each text a sheet ``STEM-words.png``; return their paths.

    Nothing is written where no word has an overlay. OutputError where Jinja is not installed, or a file of another
    origin has the name of the page.
    """
    found = described(entries)
    if not found:
        return []
    written = {folder / PAGE: html(found, prompt).encode()}
    for one in found:
        path = _free(folder, f"{one.image.stem}-words", written)
        written[path] = pictures.encode(sheet(one), path)
    for path, content in written.items():
        files.write(path, content, overwrite=overwrite)
    return list(written)


def _free(folder: Path, stem: str, taken: dict[Path, Any]) -> Path:
    count, path = 1, folder / f"{stem}.png"
    while path in taken:
        count += 1
        path = folder / f"{stem}-{count}.png"
    return path


def html(found: Sequence[DescribedImage], prompt: str) -> str:
    """Return the page of the texts *found*, the first ones of many; *prompt* is what the decoder was asked."""
    style, script = (template(__package__, name) for name in ("words.css", "words.js"))
    shown = [_variables(number, one) for number, one in enumerate(found[:_SHOWN])]
    variables = {"texts": shown, "left_out": len(found) - len(shown), "prompt": visible(prompt, 2000)}
    return render(__package__, "words.html", variables, style, script)


def _variables(number: int, one: DescribedImage) -> dict[str, Any]:
    words = {
        word.at: {
            "id": f"w{number}-{word.at}",
            "word": visible(word.word),
            "probability": word.probability,
            "large": _embedded(pictures.read(word.overlay), _LARGE),
            "small": _embedded(pictures.read(word.overlay), _SMALL),
        }
        for word in one.words
    }
    return {
        "name": visible(str(one.image), 200),
        "picture": _embedded(pictures.read(one.image), _LARGE),
        "method": one.method,
        "pieces": [(visible(text, 1000), None if word is None else words[word.at]) for text, word in one.pieces],
        "words": list(words.values()),
        "warnings": [visible(warning, 1000) for warning in one.warnings],
    }


def _embedded(picture: NDArray[np.uint8], side: int) -> str:
    """Return *picture*, its longer side at most *side* and at least half of it, as a JPEG in base64."""
    longest = max(picture.shape[:2])
    scale = min(side / longest, 1.0) if longest > side // 2 else side / 2 / longest
    size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return base64.b64encode(pictures.encode(fitted.astype(np.uint8), Path("x.jpg"), 88)).decode()
