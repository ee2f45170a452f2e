"""Raw map -> what a person looks at: scaled to [0, 1], laid over the picture, coloured, boxed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import OutputError, nearest
from onnxcam.preprocess import Frame

Map = NDArray[np.float32]

COLORMAPS = ("jet", "turbo", "viridis", "inferno", "hot", "gray")


def magnitude(raw: Map, channel: int | None) -> Map:
    """Return a map [h, w] of *raw*: for a signed map of the input's shape, the largest |value| over its channels."""
    return raw if channel is None else np.abs(raw).max(axis=channel).astype(np.float32)


def normalize(raw: Map) -> Map:
    """Return ReLU(raw) / max: in [0, 1], and all zero where nothing is positive."""
    positive = np.maximum(raw, 0)
    top = float(positive.max(initial=0))
    return (positive / top if top > 0 else positive).astype(np.float32)


def enlarge(raw: Map, frame: Frame, size: tuple[int, int]) -> Map:
    """Return *raw* [h, w] at the picture's *size* (H, W), bilinearly, zero where the tensor shows nothing of it."""
    import cv2

    (h, w), (height, width) = raw.shape, size
    scale_x, scale_y = w / (frame.x1 - frame.x0), h / (frame.y1 - frame.y0)
    # Pixel centres: column c of the picture lies at (c + ½ - x0) scale - ½ of the map.
    to_map = np.array(
        [
            [scale_x, 0, (0.5 - frame.x0) * scale_x - 0.5],
            [0, scale_y, (0.5 - frame.y0) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(
        raw.astype(np.float32), to_map, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    columns = np.arange(width) + 0.5
    rows = np.arange(height) + 0.5
    seen = np.outer((rows >= frame.y0) & (rows <= frame.y1), (columns >= frame.x0) & (columns <= frame.x1))
    return np.where(seen, large, 0).astype(np.float32)


def colorize(heat: Map, colormap: str = "jet") -> NDArray[np.uint8]:
    """Return *heat*, in [0, 1], as colours, uint8 [H, W, 3] RGB."""
    import cv2

    grey = np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    if colormap == "gray":
        return np.repeat(grey[..., None], 3, axis=2)
    if colormap not in COLORMAPS:
        known = ", ".join(COLORMAPS)
        raise OutputError(f"no colormap is called {colormap!r}; there are {known}.{nearest(colormap, COLORMAPS)}")
    table = getattr(cv2, f"COLORMAP_{colormap.upper()}")
    return np.ascontiguousarray(cv2.applyColorMap(grey, table)[..., ::-1])


def overlay(image: NDArray[np.uint8], heat: Map, alpha: float = 0.5, colormap: str = "jet") -> NDArray[np.uint8]:
    """Return *image* with the coloured *heat* over it: ``alpha`` of the heat, ``1 - alpha`` of the image."""
    mixed = alpha * colorize(heat, colormap) + (1 - alpha) * image
    return np.round(mixed).astype(np.uint8)


def box(heat: Map, threshold: float = 0.15) -> tuple[int, int, int, int] | None:
    """Return the box (x1, y1, x2, y2) around the largest connected part above *threshold* of the maximum.

    x2 and y2 are one past the last pixel. None where the map is zero. So do the CAM papers locate objects
    (1512.04150, 1610.02391: 15 % of the maximum).
    """
    import cv2

    top = float(heat.max(initial=0))
    if top <= 0:
        return None
    above = (heat >= threshold * top).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(above)
    x, y, w, h, _ = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
    return int(x), int(y), int(x + w), int(y + h)


def peak(heat: Map) -> tuple[int, int]:
    """Return (x, y) of the largest value."""
    y, x = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return int(x), int(y)
