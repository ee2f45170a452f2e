"""How well a picture fits what its embedding is compared with, as far as that can be known: cosines, and warnings."""

from __future__ import annotations

from collections.abc import Mapping

from onnxcam.errors import OnnxcamError
from onnxcam.targets.goal import Array, Look, Reference

__all__ = ["fit"]

_NEUTRAL = "something"
"""A text that says nothing of a picture."""


def fit(own: Array, found: Mapping[str, Reference], look: Look) -> tuple[str, tuple[str, ...]]:
    """Return the cosines of *own*, the picture's embedding, with those *found*, in words, and warnings where low.

    A text that fits less than one that says nothing may be wrong; a negative cosine says that both are unlike.
    """
    cosines = {key: float(own @ one.unit) for key, one in found.items()}
    if len(cosines) == 2:
        told = " and ".join(f"{cosine:.3f} ({key})" for key, cosine in cosines.items())
        if cosines["like"] >= cosines["unlike"]:
            return told, ()
        return told, (
            f"the picture is nearer to what stands behind unlike (cosine {cosines['unlike']:.3f}) than to what stands "
            f"behind like ({cosines['like']:.3f}); the map shows what makes it less so",
        )
    ((key, cosine),) = cosines.items()
    neutral = _neutral(own, look) if found[key].how and key == "like" else None
    told = f"{cosine:.3f}" + ("" if neutral is None else f", and {neutral:.3f} with that of {_NEUTRAL!r}")
    if neutral is not None and cosine < neutral:
        return told, (
            f"the cosine with the text, {cosine:.3f}, is lower than that with {_NEUTRAL!r}, {neutral:.3f}: the picture "
            "may not show it, and the map shows what fits it best",
        )
    if cosine < 0 and key == "like":
        return told, (
            f"the cosine is negative ({cosine:.3f}): both are unlike, and the map shows what makes them less so",
        )
    return told, ()


def _neutral(own: Array, look: Look) -> float | None:
    """Return the cosine of a text that says nothing; None where the text tower does not take it."""
    try:
        return None if look.text is None else float(own @ look.text(_NEUTRAL, len(own)).unit)
    except OnnxcamError:
        return None
