"""Probe images: what a model is run on to find out what its outputs mean."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onnxcam.targets.evidence import open_length

__all__ = ["COUNT", "SECONDS", "images", "tensors"]

COUNT = 3
SECONDS = 60.0
"""A model that takes longer than this for a probe image is read without a run."""


def images(size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """Yield `COUNT` images of *size* (height, width), uint8 [H, W, 3] RGB: smooth colours, each with two ellipses.

    They are the same in every run.
    """
    import cv2

    height, width = size
    rng = np.random.default_rng(0)
    for _ in range(COUNT):
        coarse = rng.uniform(0, 255, (6, 6, 3)).astype(np.float32)
        image = np.ascontiguousarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255))
        for _ in range(2):
            centre = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height))
            axes = (max(1, int(rng.uniform(0.1, 0.3) * width)), max(1, int(rng.uniform(0.1, 0.3) * height)))
            cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, rng.uniform(0, 255, 3).tolist(), -1)
        noise = rng.normal(0, 8, image.shape)
        yield (image + noise).clip(0, 255).astype(np.uint8)


def tensors(shape: tuple[object, ...], space: tuple[int, ...], dtype: np.dtype) -> Iterator[NDArray]:  # type: ignore[type-arg]
    """Yield `COUNT` random tensors [1, …] for an input of *shape* that takes no image; open axes get a length."""
    rng = np.random.default_rng(0)
    lengths = [
        n if isinstance(n, int) else open_length(len(space)) if axis in space else 1 for axis, n in enumerate(shape)
    ]
    for _ in range(COUNT):
        values = rng.standard_normal([1, *lengths[1:]]) if lengths else rng.standard_normal(())
        yield values.astype(dtype) if dtype.kind == "f" else (values * 32 + 128).clip(0, 127).astype(dtype)
