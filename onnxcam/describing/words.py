"""The words that were explained in an image, read from the entries of a manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcam.errors import TargetError
from onnxcam.metadata.subwords import spans
from onnxcam.targets import parse
from onnxcam.targets.kinds import Text

__all__ = ["DescribedImage", "DescribedWord", "described"]


@dataclass(frozen=True)
class DescribedWord:
    """A word of a text: its number, its log-probability given the words before it, and the file of its overlay."""

    word: str
    at: int
    score: float
    overlay: Path

    @property
    def probability(self) -> str:
        """Its probability in a few digits."""
        p = math.exp(min(self.score, 0.0))
        return f"{p:.2f}" if p >= 0.01 else f"{p:.0e}".replace("e-0", "e-")


@dataclass(frozen=True)
class DescribedImage:
    """A text that is said of an image, and those of its words that were explained."""

    image: Path
    text: str
    method: str
    words: Sequence[DescribedWord]
    warnings: Sequence[str]

    @property
    def pieces(self) -> list[tuple[str, DescribedWord | None]]:
        """The text in pieces: words that were explained, and what lies between."""
        own, found, end = {one.at: one for one in self.words}, list[tuple[str, DescribedWord | None]](), 0
        for at, (start, stop) in enumerate(spans(self.text)):
            if at in own:
                found += [(self.text[end:start], None), (self.text[start:stop], own[at])]
                end = stop
        return [piece for piece in [*found, (self.text[end:], None)] if piece[0]]


def described(entries: Sequence[Mapping[str, Any]]) -> list[DescribedImage]:
    """Return the texts of *entries*, of images and words that have an overlay, in their order."""
    found: dict[tuple[str, str], list[tuple[Mapping[str, Any], Text]]] = {}
    for entry in entries:
        target = _target(entry)
        if target is not None and target.at is not None and entry.get("overlay"):
            found.setdefault((entry["image"], target.text), []).append((entry, target))
    return [_image(image, text, own) for (image, text), own in found.items()]


def _target(entry: Mapping[str, Any]) -> Text | None:
    try:
        target = parse(entry.get("words", ""))
    except TargetError:
        return None
    return target if isinstance(target, Text) else None


def _image(image: str, text: str, own: Sequence[tuple[Mapping[str, Any], Text]]) -> DescribedImage:
    words = [
        DescribedWord(
            entry["target"]["label"] or "", target.at or 0, float(entry["score"] or 0), Path(entry["overlay"])
        )
        for entry, target in own
    ]
    warnings = dict.fromkeys(warning for entry, _ in own for warning in entry["warnings"])
    return DescribedImage(Path(image), text, own[0][0]["method"], words, list(warnings))
