"""Plots of signals in the colours of their maps: lines along time, or a spectrogram, over the map along time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcam.media import colours, heatmap
from onnxcam.media.colours import Colours
from onnxcam.media.image import RgbImage
from onnxcam.media.readable import drawable
from onnxcam.media.signal import Signal

__all__ = ["WIDTH", "curve", "grey", "plot", "thumbnail"]

WIDTH = 1200
"""The width of a plot, in pixels."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 18, 46
_CURVE = 84  # height of the map along time
_GAP = 12
_ROWS = 12  # more channels than this are drawn as a picture
_LONG = 8  # a grid is drawn as lines if it is so many times longer than high
_FINE = 4  # pixels are drawn so many times finer, and averaged
_INK, _FAINT, _GREY = (60, 64, 72), (222, 225, 230), 150


@dataclass(frozen=True)
class _Area:
    """A rectangle of the canvas, in pixels: from (left, top) to (right, bottom)."""

    left: int
    top: int
    right: int
    bottom: int


def plot(
    signal: Signal, heat: NDArray[np.float32], opacity: heatmap.Opacity = heatmap.BY_VALUE, colormap: str | None = None
) -> RgbImage:
    """Return *signal* in the colours of *heat*, [T] or [H, W], above the map along time, uint8 RGB [h, 1200, 3].

    Each channel is a line; more than a few rows are a picture. *opacity* is the weight of the colours behind a line,
    or over a picture, see `heatmap.overlay`.
    """
    rows = _rows(signal)
    grid = heat.T if heat.ndim == 2 and signal.time == 0 else heat
    dense = len(rows) > _ROWS or (signal.values.ndim == 3 and rows.shape[1] < _LONG * len(rows))
    if dense:
        height = int(np.clip(len(rows) * 6, 200, 420))
    else:
        height = {1: 220, 2: 150}.get(len(rows), max(60, 480 // len(rows))) * len(rows) + _GAP * (len(rows) - 1)
    image = np.full((_TOP + height + _GAP + _CURVE + _BOTTOM, WIDTH, 3), 255, np.uint8)
    area = _Area(_LEFT, _TOP, WIDTH - _RIGHT, _TOP + height)
    if dense:
        _picture(image, area, rows, np.broadcast_to(grid, rows.shape), opacity, colormap)
        _label(image, f"{len(rows)} rows", (8, area.top + 14))
    else:
        names = signal.channels if len(signal.channels) == len(rows) else ()
        _lines(image, area, rows, np.broadcast_to(grid, rows.shape), names, opacity, colormap)
    below = _Area(_LEFT, area.bottom + _GAP, area.right, area.bottom + _GAP + _CURVE)
    weight = grid if grid.ndim == 1 else np.take_along_axis(grid, np.abs(grid).argmax(0)[None], 0)[0]
    _curve(image, below, weight, colormap)
    name = "s" if signal.rate else signal.unit if signal.values.ndim == 2 else "frames"
    _axis(image, below, signal.times, name)
    return image


def curve(
    weight: NDArray[np.float32], times: NDArray[np.float64], unit: str, colormap: str | None = None, name: str = "map"
) -> RgbImage:
    """Return a map, or what *name* says, [T], as a curve over *times*, evenly spaced, uint8 RGB [h, 1200, 3]."""
    image = np.full((_GAP + _CURVE + _BOTTOM, WIDTH, 3), 255, np.uint8)
    area = _Area(_LEFT, _GAP, WIDTH - _RIGHT, _GAP + _CURVE)
    _curve(image, area, weight, colormap, name)
    _axis(image, area, times, unit)
    return image


def thumbnail(rows: NDArray[np.float32], size: tuple[int, int]) -> RgbImage:
    """Return *rows* [C, T] as grey lines on white, each in a lane of its own, uint8 RGB of *size* (height, width)."""
    height, width = size
    image = np.full((height, width, 3), 255, np.uint8)
    flat = np.full(rows.shape[1], -1e-6, np.float32)  # of a signed map: grey
    for at, values in enumerate(rows):
        top, bottom = (height * k // len(rows) for k in (at, at + 1))
        _line(image, _Area(0, top, width, bottom), values, flat, 0)
    return image


def grey(rows: NDArray[np.float32]) -> RgbImage:
    """Return *rows* [R, T] in grey, uint8 RGB [R, T, 3]; the lowest and the highest hundredth are black and white."""
    low, high = np.percentile(rows, (1, 99))
    scaled = np.clip((rows - low) / max(float(high - low), 1e-12) * 255, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(scaled[..., None], 3, -1))


def _rows(signal: Signal) -> NDArray[np.float32]:
    """Return the values as rows along time, [R, T]."""
    values = signal.values
    if values.ndim == 2:
        return values
    values = values[0] if len(values) == 1 else values.mean(axis=0)
    return values.T if signal.time == 0 else values


def _lines(
    image: RgbImage,
    area: _Area,
    rows: NDArray[np.float32],
    heat: NDArray[np.float32],
    names: tuple[str, ...],
    opacity: heatmap.Opacity,
    colormap: str | None,
) -> None:
    height = (area.bottom - area.top - _GAP * (len(rows) - 1)) // len(rows)
    for at, (values, weights) in enumerate(zip(rows, heat, strict=True)):
        top = area.top + at * (height + _GAP)
        lane = _Area(area.left, top, area.right, top + height)
        _line(image, lane, values, weights, opacity, colormap)
        _label(image, names[at][:9] if names else f"{values.max():.3g}", (8, top + 14))
        if not names:
            _label(image, f"{values.min():.3g}", (8, top + height - 4))


def _line(
    image: RgbImage,
    area: _Area,
    values: NDArray[np.float32],
    weights: NDArray[np.float32],
    opacity: heatmap.Opacity,
    colormap: str | None = None,
) -> None:
    """Draw one channel: its line in the colours of the map, and behind it the map as a shade."""
    import cv2

    width, height = area.right - area.left, area.bottom - area.top
    columns = np.minimum(((np.arange(width) + 0.5) * len(values) / width).astype(int), len(values) - 1)
    shade = _colours(weights, colormap)[columns].astype(np.float32)
    strongest = heatmap.STRONGEST if opacity == heatmap.BY_VALUE else float(opacity)
    strength = (strongest * 0.45 * np.abs(weights[columns]))[:, None]
    canvas = np.broadcast_to(255 + strength * (shade - 255), (height, width, 3)).astype(np.uint8)
    fine = cv2.resize(canvas, (width * _FINE, height * _FINE), interpolation=cv2.INTER_NEAREST)
    xs, ys, hot = _path(values, weights, fine.shape[1], fine.shape[0])
    inks = _colours(hot, colormap)
    for k in range(len(xs) - 1):
        ends = (int(xs[k]), int(ys[k])), (int(xs[k + 1]), int(ys[k + 1]))
        cv2.line(fine, *ends, inks[k].tolist(), 2 * _FINE - 1, cv2.LINE_8)
    image[area.top : area.bottom, area.left : area.right] = cv2.resize(
        fine, (width, height), interpolation=cv2.INTER_AREA
    )
    cv2.rectangle(image, (area.left, area.top), (area.right - 1, area.bottom - 1), _FAINT, 1)


def _path(
    values: NDArray[np.float32], weights: NDArray[np.float32], width: int, height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the points of a line and their weights; of a long signal the lowest and highest value of each column."""
    count, columns = len(values), width // _FINE
    low, high = float(values.min()), float(values.max())
    if count > 2 * columns:
        edges = np.arange(columns) * count // columns
        lowest, highest = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
        strongest = np.maximum.reduceat(weights, edges)
        weakest = np.minimum.reduceat(weights, edges)
        strong = np.where(-weakest > strongest, weakest, strongest)
        values, weights = np.stack([lowest, highest], 1).reshape(-1), np.repeat(strong, 2)
        xs = np.repeat((np.arange(columns) + 0.5) * _FINE, 2)
    else:
        xs = (np.arange(count) + 0.5) * width / count
    span = high - low if high > low else 1.0
    ys = (0.94 - 0.88 * (values - low) / span if high > low else np.full(len(values), 0.5)) * height
    return xs.astype(np.int64), ys.astype(np.int64), weights


def _colours(weights: NDArray[np.float32], colormap: str | None) -> Colours:
    """Return a colour for each weight; colours that begin at white, as those of a signed map do, begin at grey."""
    colormap, is_signed = colormap or colours.ON_WHITE, weights.min(initial=0) < 0
    if not is_signed and not colours.fades(colormap):
        return colours.colorize(weights, colormap)
    full = colours.colorize(np.sign(weights) if is_signed else weights, colormap)
    share = np.sqrt(np.clip(np.abs(weights), 0, 1))[:, None]
    return np.round(share * full + (1 - share) * _GREY).astype(np.uint8)


def _picture(
    image: RgbImage,
    area: _Area,
    rows: NDArray[np.float32],
    heat: NDArray[np.float32],
    opacity: heatmap.Opacity,
    colormap: str | None,
) -> None:
    """Draw *rows* in grey, the first at the bottom, and the map over them."""
    import cv2

    size = area.right - area.left, area.bottom - area.top
    large = cv2.resize(grey(rows)[::-1], size, interpolation=cv2.INTER_NEAREST)
    smooth = np.asarray(cv2.resize(np.ascontiguousarray(heat[::-1]), size, interpolation=cv2.INTER_LINEAR), np.float32)
    drawn = heatmap.overlay(np.asarray(large, np.uint8), smooth, opacity, colormap)
    image[area.top : area.bottom, area.left : area.right] = drawn


def _curve(image: RgbImage, area: _Area, weight: NDArray[np.float32], colormap: str | None, name: str = "map") -> None:
    """Draw the map along time as a filled curve, from 0, or from -1 where it has negative values."""
    width, height = area.right - area.left, area.bottom - area.top
    edges = np.arange(width) * len(weight) // width
    at = np.minimum(edges, len(weight) - 1)
    shown = weight[at]
    if len(weight) > width:
        most, least = np.maximum.reduceat(weight, edges), np.minimum.reduceat(weight, edges)
        shown = np.where(-least > most, least, most)
    base = height / 2 if weight.min(initial=0) < 0 else height
    tops = base - np.clip(shown, -1, 1) * (base - 2)
    rows = np.arange(height)[:, None] + 0.5
    inside = (rows >= np.minimum(tops, base)) & (rows <= np.maximum(tops, base))
    patch = image[area.top : area.bottom, area.left : area.right]
    patch[inside] = np.broadcast_to(_colours(shown, colormap), patch.shape)[inside]
    image[area.top + int(base) - 1, area.left : area.right] = _FAINT
    _label(image, f"{name} 1", (8, area.top + 12))
    _label(image, "-1" if base < height else "0", (8, area.bottom - 1))


def _axis(image: RgbImage, area: _Area, times: NDArray[np.float64], unit: str) -> None:
    """Draw the axis of time with round numbers, and its unit."""
    import cv2

    one = float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
    first, last = float(times[0]), float(times[-1]) + one
    step = _round_step((last - first) / 8)
    cv2.line(image, (area.left, area.bottom), (area.right - 1, area.bottom), _INK, 1)
    for k in range(int(np.ceil(first / step - 1e-9)), int(last / step + 1e-9) + 1):
        x = area.left + round((k * step - first) / (last - first) * (area.right - 1 - area.left))
        cv2.line(image, (x, area.bottom), (x, area.bottom + 5), _INK, 1)
        _label(image, f"{k * step:.10g}", (x, area.bottom + 20), centred=True)
    _label(image, unit, ((area.left + area.right) // 2, area.bottom + 38), centred=True)


def _round_step(rough: float) -> float:
    """Return the next of 1, 2, 5, 10 … times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(rough, 1e-30)))
    return float(next(k * power for k in (1, 2, 5, 10) if k * power >= rough * (1 - 1e-9)))


def _label(image: RgbImage, text: str, at: tuple[int, int], centred: bool = False) -> None:
    import cv2

    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    place = (at[0] - width // 2, at[1]) if centred else at
    cv2.putText(image, drawable(text), place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
