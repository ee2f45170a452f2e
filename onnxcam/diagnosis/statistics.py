"""What rounding does to one tensor: its noise, what its range clips, how many of its integers it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.graph.quantisers import Quantiser

__all__ = ["TensorStatistics"]

_Array = NDArray[Any]


@dataclass
class TensorStatistics:
    """Statistics of the real values of one quantised tensor, over any number of images.

    Attributes:
        quantiser: The quantiser.
        channel: Axis of the channels.
        low: Smallest value of each channel, [C].
        high: Largest value of each channel, [C].
        varying: Whether the channel varies, [C].
        kept: Whether its integers vary, [C].
        count: Number of values.
        below: Number of values under the range of the integers.
        above: Number of values over it.
        signal: Σ x².
        noise: Σ (Q(x) − x)².
        clip_noise: The part of *noise* outside the range.
        clip_effect: Magnitude of the effect on the outputs of the values outside the range.
        round_effect: The same of the others.
        total: Σ x.
        held: Σ Q(x).
        product: Σ Q(x) x.
        square: Σ Q(x)².
        parts: Spans of the tensors that it is concatenated of.
    """

    quantiser: Quantiser
    channel: int = 1
    low: _Array = field(default_factory=lambda: np.zeros(0))
    high: _Array = field(default_factory=lambda: np.zeros(0))
    varying: _Array = field(default_factory=lambda: np.zeros(0, bool))
    kept: _Array = field(default_factory=lambda: np.zeros(0, bool))
    count: int = 0
    below: int = 0
    above: int = 0
    signal: float = 0.0
    noise: float = 0.0
    clip_noise: float = 0.0
    clip_effect: float = 0.0
    round_effect: float = 0.0
    total: float = 0.0
    held: float = 0.0
    product: float = 0.0
    square: float = 0.0
    parts: list[float] = field(default_factory=list)

    def add(self, x: _Array, rounded: _Array | None = None, gradient: _Array | None = None) -> None:
        """Add the real values *x* of one image.

        *rounded* is what the model holds, by default what the quantiser makes of them; *gradient* that of the outputs.
        """
        x = x.astype(np.float64)
        held = self.quantiser.rounded(x) if rounded is None else rounded
        low, high = (self.quantiser.along(end, x.shape) for end in self.quantiser.range)
        half = self.quantiser.along(self.quantiser.scale, x.shape) / 2
        under, over = x < low - half, x > high + half
        error, clips = np.square(held - x), under | over
        if gradient is not None:
            effects = gradient * (held - x)
            self.clip_effect += abs(float(effects[clips].sum()))
            self.round_effect += abs(float(effects[~clips].sum()))
        self.count += x.size
        self.below, self.above = self.below + int(under.sum()), self.above + int(over.sum())
        self.signal, self.noise = self.signal + float(np.square(x).sum()), self.noise + float(error.sum())
        self.clip_noise += float(error[clips].sum())
        self.total, self.held = self.total + float(x.sum()), self.held + float(held.sum())
        self.product, self.square = self.product + float((held * x).sum()), self.square + float(np.square(held).sum())
        self._add_channels(x, held)

    def add_parts(self, arrays: Sequence[_Array]) -> None:
        """Add the tensors that the values are concatenated of."""
        spans = [float(max(x.max(initial=0), 0) - min(x.min(initial=0), 0)) for x in arrays]
        self.parts = [max(pair) for pair in zip(spans, self.parts or spans, strict=True)]

    def _add_channels(self, x: _Array, held: _Array) -> None:
        axis = self.channel if x.ndim > self.channel else x.ndim - 1
        rows = [np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1) if a.ndim else a.reshape(1, 1) for a in (x, held)]
        if not rows[0].size:
            return
        low, high = rows[0].min(1), rows[0].max(1)
        varying, kept = high > low, rows[1].max(1) > rows[1].min(1)
        if len(self.low) != len(low):
            self.low, self.high, self.varying, self.kept = low, high, varying, kept
            return
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.varying, self.kept = self.varying | varying, self.kept | kept

    @property
    def sqnr(self) -> float:
        """Signal-to-quantisation-noise ratio in dB, the number that other tools print; infinite without noise."""
        if not self.noise or not self.signal:
            return float("inf")
        return float(10 * np.log10(self.signal / self.noise))

    @property
    def clipped(self) -> float:
        """Share of the values outside the range of the integers."""
        return (self.below + self.above) / max(self.count, 1)

    @property
    def clip_share(self) -> float:
        """Share of the damage that values outside the range do: of the effect if it is known, else of the noise."""
        effect = self.clip_effect + self.round_effect
        if effect:
            return self.clip_effect / effect
        return self.clip_noise / self.noise if self.noise else 0.0

    @property
    def span(self) -> float:
        """Distance of the smallest and the largest value, 0 included."""
        return float(max(self.high.max(initial=0), 0) - min(self.low.min(initial=0), 0))

    @property
    def levels(self) -> float:
        """Number of integers that the values use, of one channel in the middle if each has a scale."""
        return float(np.median(self.channel_levels)) if self.quantiser.scale.size > 1 else self.span / self.step

    @property
    def channel_levels(self) -> _Array:
        """Number of integers that the values of each channel use, [C]."""
        return (self.high - self.low) / (
            self.quantiser.scale if self.quantiser.scale.size == len(self.low) else self.step
        )

    @property
    def factor(self) -> float:
        """Slope of x by Q(x): 1 if the scale is right, else the number by which the scale must be multiplied."""
        n = max(self.count, 1)
        variance = self.square - self.held**2 / n
        return (self.product - self.held * self.total / n) / variance if variance > 0 else 1.0

    @property
    def offset(self) -> float:
        """Mean of Q(x) where x is 0, in steps: 0 if the zero point is right."""
        slope = self.factor
        return (self.held - self.total / slope) / max(self.count, 1) / self.step if slope else 0.0

    @property
    def dead(self) -> float:
        """Share of the channels that vary in real numbers and are constant in integers."""
        varying = int(self.varying.sum())
        return float((self.varying & ~self.kept).sum()) / varying if varying else 0.0

    @property
    def step(self) -> float:
        """Size of one step, the largest of the channels."""
        return float(self.quantiser.scale.max())
