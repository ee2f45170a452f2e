"""Named causes of a large rounding error, each with its cure: what a gradient cannot say.

A rule looks at the statistics of one tensor and gives a `Cause` or nothing. The first rule of a tensor that fits is the
cause: they go from the most to the least specific.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from onnxcam.diagnosis.statistics import TensorStatistics

__all__ = ["CAUSES", "Cause", "find_cause"]

_MOSTLY = 0.5
"""Clipping is the cause if it does this share of the tensor's damage."""
_COARSE = 32
"""A tensor that uses fewer integers than this has too large a scale."""
_FEW = 16
"""A channel that uses fewer integers than this loses its values to the other channels' range."""
_APART = 16.0
"""One scale does not suit parts whose spans differ by this factor."""
_OFF = 0.05
"""A scale is wrong if the best one differs by this share."""
_DEAD = 0.05
"""Share of dead channels that is worth a word."""
_SILENT = 40.0
"""With this signal-to-noise ratio in dB or more, nothing is wrong."""


@dataclass(frozen=True)
class Cause:
    """Why the rounding error of a tensor is large.

    Attributes:
        id: ``clipped``, ``zero-point``, ``coarse``, ``shared-scale``, ``outlier-channels``, ``dead-channels``,
            ``per-tensor``, ``scale``.
        words: What is wrong, a sentence without its subject, such as "its range clips 3 % of the values".
        cure: What to do.
    """

    id: str
    words: str
    cure: str


_CauseRule = Callable[[TensorStatistics], Cause | None]

_CALIBRATE = "calibrate again, with images like those of the device"
_FLOAT = "keep it in float"
_EQUALISE = f"equalise the channels with the layers before and after it, or {_FLOAT}"


def find_cause(found: TensorStatistics) -> Cause | None:
    """Return the cause of the rounding error of a tensor; None if nothing stands out."""
    rules = {"activation": _ACTIVATIONS, "weight": _WEIGHTS, "bias": _BIASES}[found.quantiser.kind]
    return next((cause for rule in rules if (cause := rule(found)) is not None), None)


def _zero_point(found: TensorStatistics) -> Cause | None:
    """The range is wide enough, and lies at another place than the values."""
    if found.sqnr >= _SILENT or found.clip_share < _MOSTLY:
        return None
    if found.quantiser.scale.size > 1 or min(found.below, found.above):
        return None
    low, high = (float(end) for end in found.quantiser.range)
    real_low, real_high = min(float(found.low.min()), 0.0), max(float(found.high.max()), 0.0)
    off = round((real_high - high if found.above else real_low - low) / found.step)
    if found.span > 1.1 * (high - low) or abs(off) < 2:
        return None
    zero, clipped = int(found.quantiser.zero), _percent(found.clipped)
    right = int(np.clip(zero - off, *found.quantiser.limits))
    if right == zero:
        return None
    words = f"its zero point {zero} moves the range, which clips {clipped} of its values"
    return Cause("zero-point", words, f"set the zero point to about {right}")


def _clipped(found: TensorStatistics) -> Cause | None:
    """Values lie outside the range."""
    if found.sqnr >= _SILENT or found.clip_share < _MOSTLY:
        return None
    end = max(float(np.abs(limit).max()) for limit in found.quantiser.range)
    most = max(float(np.abs(found.low).max()), float(np.abs(found.high).max()))
    words = f"its range clips {_percent(found.clipped)} of its values: they reach {most:.3g}, the range {end:.3g}"
    return Cause("clipped", words, _CALIBRATE)


def _shared(found: TensorStatistics) -> Cause | None:
    """One scale serves parts of different spans."""
    spans = [span for span in found.parts if span > 0]
    if len(spans) < 2 or max(spans) < _APART * min(spans):
        return None
    few, many = min(spans) / found.step, max(spans) / found.step
    words = f"one scale serves parts of different size: the smallest uses {few:.0f} integers, the largest {many:.0f}"
    return Cause("shared-scale", words, f"quantise the parts apart, before the concatenation, or {_FLOAT}")


def _coarse(found: TensorStatistics) -> Cause | None:
    """The scale is too large."""
    if found.sqnr >= _SILENT or found.levels >= _COARSE:
        return None
    least, most = found.quantiser.limits
    words = f"its scale is too large: its values use {max(found.levels, 1):.0f} of {most - least + 1} integers"
    return Cause("coarse", words, _CALIBRATE)


def _outliers(found: TensorStatistics) -> Cause | None:
    """One channel spans many times the others."""
    spans = np.sort(found.high - found.low)
    middle = float(np.median(spans)) if len(spans) else 0.0
    if len(spans) < 4 or not middle or spans[-1] < _APART * middle or middle / found.step >= _FEW:
        return None
    words = f"one channel spans {spans[-1] / middle:.0f} times the others, which use {middle / found.step:.0f} integers"
    return Cause("outlier-channels", words, _EQUALISE)


def _dead(found: TensorStatistics) -> Cause | None:
    """Channels become constant."""
    if found.dead < _DEAD:
        return None
    return Cause("dead-channels", f"{_percent(found.dead)} of its channels are constant in integers", _EQUALISE)


def _per_tensor(found: TensorStatistics) -> Cause | None:
    """Weights have one scale, or the same for each channel, and channels of different spans."""
    levels = found.channel_levels
    few = float((levels < _FEW).mean()) if len(levels) else 0.0
    apart = levels.max(initial=0) >= _APART * max(float(np.median(levels)), 1e-9) if len(levels) else False
    if np.ptp(found.quantiser.scale) or len(levels) < 2 or few < 0.1 or not (apart or few >= 0.25):
        return None
    words = f"one scale for all channels leaves {_percent(few)} of them fewer than {_FEW} integers"
    return Cause("per-tensor", words, f"quantise these weights per channel, or {_EQUALISE}")


def _scale(found: TensorStatistics) -> Cause | None:
    """The scale of weights is another one than fits."""
    if abs(found.factor - 1) < _OFF:
        return None
    words = f"its scale is wrong: the weights fit with {found.factor:.3g} times the scale"
    return Cause("scale", words, "write the scale that the quantiser computed")


def _weight_zero_point(found: TensorStatistics) -> Cause | None:
    """The zero point of weights is another one than fits."""
    off = found.offset
    if abs(off) < 1:
        return None
    return Cause(
        "zero-point", f"its zero point is off by {off:.0f}", "write the zero point that the quantiser computed"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


_ACTIVATIONS: tuple[_CauseRule, ...] = (_zero_point, _clipped, _shared, _outliers, _dead, _coarse)
_WEIGHTS: tuple[_CauseRule, ...] = (_scale, _weight_zero_point, _clipped, _per_tensor, _coarse)
_BIASES: tuple[_CauseRule, ...] = (_scale, _weight_zero_point)

CAUSES: Mapping[str, str] = {
    "clipped": "the range of the integers ends before the values",
    "zero-point": "the range is wide enough and lies at another place",
    "coarse": "the scale is too large, so that few integers are used",
    "shared-scale": "one scale serves boxes and scores, or other parts of different size",
    "outlier-channels": "one channel needs a range that leaves few integers to the others",
    "dead-channels": "channels become constant",
    "per-tensor": "weights need a scale for each channel",
    "scale": "the scale of the weights is wrong",
}
"""The causes and what they mean."""
