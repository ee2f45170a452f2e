"""Sizes of objects, by their area in pixels of the image: small, medium and large, as COCO has them."""

from __future__ import annotations

__all__ = ["SIZES", "size_of"]

SIZES = ("small", "medium", "large")
"""Names of the sizes."""
_BOUNDS = (32**2, 96**2)


def size_of(area: float) -> str:
    """Return the size of an object of *area* pixels: small below 32², large from 96² on.

    Example:
        >>> size_of(40 * 40)
        'medium'
    """
    return SIZES[sum(area >= bound for bound in _BOUNDS)]
