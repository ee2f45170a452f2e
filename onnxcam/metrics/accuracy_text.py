"""Accuracy of texts, by the ground truth: the character error rate, and the share of texts that are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from onnxcam.errors import TruthError
from onnxcam.metrics.accuracy import check_lengths
from onnxcam.metrics.truth.annotation import Annotation

__all__ = ["Edit", "TextAccuracy", "edits", "text_accuracy"]

Edit: TypeAlias = "tuple[str | None, str | None]"
"""A unit of the first text and one of the second in its place; None for a missing one."""


@dataclass(frozen=True)
class TextAccuracy:
    """Accuracy of texts.

    Attributes:
        character_error: Edits of all texts, divided by the letters of all true texts.
        exact: Share of texts that are right as a whole.
        images: Number of images with truth.
    """

    character_error: float
    exact: float
    images: int


def text_accuracy(predictions: Sequence[Sequence[str]], annotations: Sequence[Annotation | None]) -> TextAccuracy:
    """Return the accuracy of the texts *predictions*, each a text or a list of its letters.

    Args:
        predictions: Text of each image.
        annotations: Truth of each image; None or no text: the image is left out.

    Raises:
        TruthError: no image has a text.

    Example:
        >>> text_accuracy(["A81"], [Annotation(text="AB12")]).character_error
        0.5
    """
    check_lengths(predictions, annotations)
    pairs = [
        (list(annotation.text), list(one))
        for one, annotation in zip(predictions, annotations, strict=True)
        if annotation is not None and annotation.text
    ]
    if not pairs:
        raise TruthError("the truth has no text of any image; give a CSV with a column text (docs/truth-formats.md)")
    wrong = [len(edits(true, found)) for true, found in pairs]
    letters = sum(len(true) for true, _ in pairs)
    return TextAccuracy(sum(wrong) / letters, wrong.count(0) / len(pairs), len(pairs))


def edits(reference: Sequence[str], candidate: Sequence[str]) -> list[Edit]:
    """Return the fewest insertions, deletions and substitutions from one text to the other (Levenshtein 1966).

    Example:
        >>> edits("AB1", "A81")
        [('B', '8')]
    """
    rows, columns = len(reference), len(candidate)
    costs = [[i + j for j in range(columns + 1)] for i in range(rows + 1)]
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            swap = costs[i - 1][j - 1] + (reference[i - 1] != candidate[j - 1])
            costs[i][j] = min(swap, costs[i - 1][j] + 1, costs[i][j - 1] + 1)
    found: list[Edit] = []
    i, j = rows, columns
    while i or j:
        same = bool(i and j) and reference[i - 1] == candidate[j - 1]
        if i and j and costs[i][j] == costs[i - 1][j - 1] + (not same):
            i, j = i - 1, j - 1
            found += [] if same else [(reference[i], candidate[j])]
        elif i and costs[i][j] == costs[i - 1][j] + 1:
            i -= 1
            found.append((reference[i], None))
        else:
            j -= 1
            found.append((None, candidate[j]))
    return found[::-1]
