"""Ranges of quantised tensors by their effect: how much the rounding error with other units changes the outputs.

Let x be a tensor of the float network, e its rounding error and J the Jacobian of the outputs by x. The change of the
outputs is J e, to first order. Rounding errors of different elements are independent, so that ‖J e‖² is Σ ‖J_i‖² e_i².
One backward pass by a projection of the outputs on random signs gives an estimate of each ‖J_i‖². Errors of clipped
values have one sign: their part of ‖J e‖² is estimated by the square of their common projection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.diagnosis.effects import tensor_effects
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.graph.quantisers import Quantiser

__all__ = ["Sensitivity", "weight_units", "widest_units"]

_Array = NDArray[Any]
_FRACTIONS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Ends of the ranges that are tried, as shares of the smallest and the largest value."""
_EXTREME = 256
"""Number of smallest and of largest values of a tensor and an image that count in full."""
_SAMPLED = 1 << 14
"""Number of other values of a tensor and an image that stand for all."""


@dataclass(frozen=True)
class _Sample:
    """Some values of an activation in one image.

    Attributes:
        values: The values.
        gradients: Derivatives of the projection of the outputs by them.
        counts: Number of elements that each stands for.
    """

    values: _Array
    gradients: _Array
    counts: _Array

    @classmethod
    def of(cls, x: _Array, gradient: _Array, rng: np.random.Generator) -> _Sample:
        """Return the extremes of *x*, and others at random."""
        x, gradient = x.ravel(), gradient.ravel()
        if x.size <= _SAMPLED + 2 * _EXTREME:
            return cls(x, gradient, np.ones(x.size, np.float32))
        order = np.argpartition(x, (_EXTREME, x.size - _EXTREME))
        inner = order[_EXTREME:-_EXTREME]
        chosen = inner[rng.integers(0, inner.size, _SAMPLED)]
        places = np.concatenate([order[:_EXTREME], order[-_EXTREME:], chosen])
        counts = np.ones(places.size, np.float32)
        counts[2 * _EXTREME :] = inner.size / _SAMPLED
        return cls(x[places], gradient[places], counts)

    def cost(self, units: Quantiser) -> float:
        """Return an estimate of ‖J e‖² with the *units*."""
        x = self.values.astype(np.float64)
        effect = self.gradients * (units.rounded(x) - x)
        low, high = (float(end) for end in units.range)
        clipped = (x < low) | (x > high)
        together = float((self.counts * effect)[clipped].sum())
        return float((self.counts * np.square(effect))[~clipped].sum()) + together**2


class Sensitivity:
    """How much the rounding errors of each tensor change the outputs, over images.

    Args:
        mixture: The quantised model.
        tensors: Names of the output tensors that matter, of the float network.
        feeds: Inputs of the quantised model for each image.
        weights: Names of the tensors of the mixture that hold weights, by the tensors of their quantisers.
    """

    def __init__(
        self,
        mixture: Mixture,
        tensors: Sequence[str],
        feeds: Sequence[Mapping[str, _Array]],
        weights: Mapping[str, str],
    ) -> None:
        rng, shares = np.random.default_rng(0), mixture.shares(0.0)
        outputs = [mixture.mixed(name) for name in tensors]
        sites = {name: site.after for name, site in mixture.sites.items()}
        effects = tensor_effects(mixture, outputs, taps=[*sites.values(), *weights.values()])
        self._originals = mixture.originals
        self._samples: dict[str, list[_Sample]] = {}
        self._squares: dict[str, _Array] = {}
        for given in feeds:
            values = effects.values(given, shares)
            signs = {f"{name}.cotangent": _projection(values[name], rng) for name in outputs}
            gradients = effects({**given, **signs}, shares)[1]
            for tensor, name in sites.items():
                if name in gradients:
                    self._samples.setdefault(tensor, []).append(_Sample.of(values[name], gradients[name], rng))
            for tensor, name in weights.items():
                if name in gradients:
                    self._squares[tensor] = self._squares.get(tensor, 0.0) + np.square(gradients[name])

    def cost(self, units: Quantiser) -> float:
        """Return an estimate of the squared change of the outputs by one tensor with the *units*, over the images."""
        if units.tensor in self._squares:
            return float(self._weight_costs(units).sum())
        return sum(one.cost(units) for one in self._samples.get(units.tensor, ()))

    def _weight_costs(self, units: Quantiser) -> _Array:
        """Return the part of each element of a weight tensor."""
        real = self._originals[units.tensor].astype(np.float64)
        return np.asarray(self._squares[units.tensor] * np.square(units.rounded(real) - real))

    def widest(self, quantiser: Quantiser) -> Quantiser | None:
        """Return units of an activation for the range of all its values; None without values other than 0."""
        ends = self._ends(quantiser.tensor)
        return None if ends is None else widest_units(quantiser, *ends)

    def best(self, quantiser: Quantiser) -> Quantiser | None:
        """Return the units of an activation with the least cost; None if it does not matter here."""
        ends = self._ends(quantiser.tensor)
        found = [] if ends is None else list(_narrowed(quantiser, *ends))
        return min(found, key=self.cost) if found else None

    def best_weights(self, quantiser: Quantiser, weights: _Array, axis: int | None) -> Quantiser | None:
        """Return the units of *weights* with the least cost, for each index of *axis* or one for all."""
        widest = weight_units(quantiser, weights, axis)
        if widest is None or quantiser.tensor not in self._squares:
            return widest
        others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
        tried = [replace(widest, scale=np.asarray(widest.scale * fraction)) for fraction in _FRACTIONS]
        costs = [np.asarray(self._weight_costs(one).sum(others)) for one in tried]
        chosen = np.asarray(_FRACTIONS)[np.argmin(costs, axis=0)]
        return replace(widest, scale=np.asarray(widest.scale * chosen))

    def _ends(self, tensor: str) -> tuple[float, float] | None:
        samples = self._samples.get(tensor)
        if not samples:
            return None
        return min(float(one.values.min()) for one in samples), max(float(one.values.max()) for one in samples)


def widest_units(quantiser: Quantiser, low: float, high: float) -> Quantiser | None:
    """Return units of an activation for the range from *low* to *high*, with 0 inside; None for an empty range.

    Signed integers with the zero point 0 keep it: many processors need that.
    """
    least, most = quantiser.limits
    low, high = min(low, 0.0), max(high, 0.0)
    if quantiser.dtype.kind == "i" and not quantiser.zero.any():
        scale, zero = max(-low, high) / most, 0
    else:
        scale = (high - low) / (most - least)
        zero = round(least - low / scale) if scale > 0 else 0
    if not scale > 0 or not np.isfinite(scale):
        return None
    return replace(quantiser, scale=np.asarray(scale), zero=np.asarray(zero, np.int64))


def weight_units(quantiser: Quantiser, weights: _Array, axis: int | None) -> Quantiser | None:
    """Return units that fit the *weights*: for each index of *axis*, or one for all. The integer 0 stays that of 0.0.

    None: all weights are zero, the integers are those of a bias, or blocks of weights have scales of their own.
    """
    least, highest = quantiser.limits
    middle = 0 if least < 0 else (highest + 1) // 2
    sizes = np.abs(weights.astype(np.float64))
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
    most = np.asarray(sizes.max(others))
    if quantiser.kind != "weight" or quantiser.block or not most.any():
        return None
    scale = np.where(most > 0, most, most.max()) / (highest - middle)
    return replace(quantiser, scale=scale, zero=np.full(scale.shape, middle, np.int64), axis=axis or 0)


def _narrowed(quantiser: Quantiser, low: float, high: float) -> Iterator[Quantiser]:
    """Yield units for the range from *low* to *high*, and for ranges that end before, on one side or on both."""
    for fraction in _FRACTIONS:
        for ends in dict.fromkeys(((low * fraction, high * fraction), (low * fraction, high), (low, high * fraction))):
            units = widest_units(quantiser, *ends)
            if units is not None:
                yield units


def _projection(y: _Array, rng: np.random.Generator) -> _Array:
    """Return random signs, divided by the length of *y*: the change of the outputs is measured relative to it."""
    length = float(np.linalg.norm(y))
    return (rng.choice((-1.0, 1.0), y.shape) / (length or 1.0)).astype(np.float32)
