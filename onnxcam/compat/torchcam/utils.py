"""torch-cam's overlay."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxcam.media.heatmap import overlay

__all__ = ["overlay_mask"]


def overlay_mask(img: Any, mask: Any, colormap: str = "jet", alpha: float = 0.7) -> Any:
    """Return the map *mask* in [0, 1] over the image *img*, both pictures of Pillow, RGB; *alpha* is the image's share.

    As in torch-cam the map is enlarged by bicubic interpolation and squared, so that weak evidence fades.
    """
    from PIL import Image

    heat = np.asarray(mask.resize(img.size, resample=Image.Resampling.BICUBIC), np.float32)
    share = np.clip(heat / np.float32(255 if mask.mode == "L" else 1), 0, 1)
    return Image.fromarray(overlay(np.asarray(img.convert("RGB")), share**2, 1 - alpha, colormap))
