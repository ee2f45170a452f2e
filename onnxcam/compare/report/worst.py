"""Validation → one picture of the worst images: each with the maps of both models and their difference."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.report import formatting, ranking
from onnxcam.compare.report.canvas import canvas_of
from onnxcam.media import image
from onnxcam.media.image import RgbImage
from onnxcam.media.readable import shortened
from onnxcam.text import visible

if TYPE_CHECKING:
    from onnxcam.compare.validation import Validation

__all__ = ["WORST", "first_metric", "worst", "worst_picture"]

WORST = 5
"""Number of images shown."""
_TILE, _GAP, _LINE = 240, 8, 26
"""Side of a drawn image, space between two, height of a line of text, in pixels."""
_TITLES = ("image", "reference", "candidate", "difference")


def worst(validation: Validation) -> list[ImageComparison]:
    """Return the worst images, the worst first, by the mean of their ranks in all metrics."""
    table = ranking.columns(pair.values for pair in validation.journal)
    return [validation.journal[at] for at in ranking.order(table)[:WORST].tolist()]


def worst_picture(validation: Validation) -> bytes:
    """Return a PNG with a row for each of the worst images; of several things in an image the first is shown.

    Images are opened as `panel` does. A tile without a map is grey.
    """
    rows = [_titles(), *(_row(pair, validation) for pair in worst(validation))]
    return _signed(image.encode(np.concatenate(rows), Path("worst.png")))


def first_metric(pair: ImageComparison, validation: Validation) -> str:
    """Return ``iou 0.312`` of *pair*: the metric of the first requirement that fails, else of the first required."""
    asked = sorted(validation.verdicts, key=lambda verdict: verdict.holds)
    metrics = [*(verdict.metric for verdict in asked), *AGREEMENT_METRICS]
    metric = next((one for one in metrics if one in pair.values), None)
    return "" if metric is None else f"{metric} {formatting.single(metric, pair.values[metric])}"


def _row(pair: ImageComparison, validation: Validation) -> RgbImage:
    canvas = canvas_of(pair, validation.folders)
    maps = canvas.maps(pair.objects[0]) if pair.objects else (None, None, None)
    picture = canvas.picture(pair)
    tiles = [None if canvas.missing else picture, *maps]
    drawn = [_tile(tile, (picture.shape[0], picture.shape[1]), canvas.parts) for tile in tiles]
    name = visible(Path(pair.picture).name)
    answers = " / ".join(visible(answer.words, 40) for answer in pair.answers)
    said = "   ".join(part for part in (name, answers, first_metric(pair, validation)) if part)
    return np.concatenate([_line(said, 4 * (_TILE + _GAP) + _GAP, _GAP), _beside(drawn)])


def _tile(drawn: RgbImage | None, size: tuple[int, int], parts: int) -> RgbImage:
    """Return *drawn*, or grey in its *size* (H, W), in the middle of a white square, or of *parts* of them."""
    import cv2

    shown = np.full((*size, 3), 200, np.uint8) if drawn is None else drawn
    scale = _TILE / max(shown.shape[0] / parts, shown.shape[1])
    height, width = (max(1, round(side * scale)) for side in shown.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    tile = np.full((height, _TILE, 3), 255, np.uint8)
    left = (_TILE - width) // 2
    tile[:, left : left + width] = cv2.resize(shown, (width, height), interpolation=how)
    return tile


def _beside(tiles: list[RgbImage]) -> RgbImage:
    gap = np.full((tiles[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([gap, *(part for tile in tiles for part in (tile, gap))], axis=1)


def _titles() -> RgbImage:
    return _beside([_line(title, _TILE) for title in _TITLES])


def _line(text: str, width: int, left: int = 0) -> RgbImage:
    import cv2

    line = np.full((_LINE, width, 3), 255, np.uint8)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    shown = shortened(text, width - 2 * left, font, scale, 1)
    cv2.putText(line, shown, (left, _LINE - 8), font, scale, (40, 40, 40), 1, cv2.LINE_AA)
    return line


def _signed(png: bytes) -> bytes:
    """Return *png* with the text ``Software: onnxcam`` behind its header, by which `files.is_ours` knows it."""
    chunk = b"tEXtSoftware\0onnxcam"
    header = 33  # 8 bytes of signature, 25 of IHDR
    length = struct.pack(">I", len(chunk) - 4)
    return png[:header] + length + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[header:]
