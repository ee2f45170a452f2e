"""Rows → small pictures with their maps, for the report."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import cv2
import numpy as np

from onnxcam.auditing.table import AuditTable
from onnxcam.batching.addresses import is_remote, read
from onnxcam.errors import OnnxcamError
from onnxcam.media import heatmap, image

__all__ = ["SIDE", "shown"]

SIDE = 128
"""Longer side of a picture of the report, in pixels."""


def shown(table: AuditTable, at: int, images: str | os.PathLike[str] | None = None) -> tuple[str, bool]:
    """Return row *at* with its map over it, as the base64 of a JPEG, and whether it is the picture, not its thumbnail.

    Args:
        table: The rows.
        at: Number of the row.
        images: Folder or address that paths are relative to.
    """
    path = str(table.columns["path"][at].as_py())
    base = "" if images is None else os.fspath(images)
    address = path if not base or is_remote(path) or os.path.isabs(path) else f"{base.rstrip('/')}/{path}"
    try:
        picture, whole = image.decode(read(address), address), True
    except (OnnxcamError, OSError):
        picture, whole = table.thumbnails[at], False
    scale = SIDE / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
    heat = cv2.resize(table.heat[at].astype(np.float32) / 255, size, interpolation=cv2.INTER_LINEAR)
    drawn = heatmap.overlay(small, np.asarray(heat, np.float32))
    pair = np.concatenate([small, drawn], axis=1)
    return base64.b64encode(image.encode(pair, Path("example.jpg"), 85)).decode("ascii"), whole
