"""The text towers of two compared models: which one embeds the text that both compare with."""

from __future__ import annotations

from dataclasses import replace

from onnxcam.model.description import ModelDescription

__all__ = ["settle_texts"]


def settle_texts(reference: ModelDescription, candidate: ModelDescription) -> list[str]:
    """Give both models the same text tower where they name one file, or only one of them has any; return notes.

    A text is then embedded once for both. Two files of two towers each keep their own.
    """
    own, other = reference.text_tower, candidate.text_tower
    if own is not None and other is not None:
        if own.is_own and other.is_own and own.path == other.path and own.given == other.given:
            candidate.text_tower = own
        return []
    if own is not None and candidate.takes_texts:
        candidate.text_tower = replace(own, is_own=True)
        return [f"the candidate has no text tower: its texts are embedded by that of the reference, {own.name}"]
    if other is not None and reference.takes_texts:
        reference.text_tower = replace(other, is_own=True)
        return [f"the reference has no text tower: its texts are embedded by that of the candidate, {other.name}"]
    return []
