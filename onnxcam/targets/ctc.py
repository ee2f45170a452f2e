"""CTC: the probability that each frame shows each letter of a text (Graves et al., 2006)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxcam.targets.goal import Array

__all__ = ["occupancy"]


def occupancy(logs: Array, letters: Sequence[int], blank: int) -> Array | None:
    """Return γ [T, S], the probability of each state in each frame, given the text; None where the text does not fit.

    The states are the letters with blanks around them: S = 2 L + 1. Forward and backward recursion of CTC.
    """
    states = [blank]
    for letter in letters:
        states += [letter, blank]
    emitted = logs[:, states]
    skips = np.array([s >= 2 and states[s] != blank and states[s] != states[s - 2] for s in range(len(states))])
    forward = _recursion(emitted, skips)
    turned = np.concatenate([skips[2:], [False, False]])[::-1]
    backward = _recursion(emitted[::-1, ::-1], turned)[::-1, ::-1]
    both = forward + backward - emitted
    whole = np.logaddexp.reduce(both[0])
    return None if not np.isfinite(whole) else np.exp(both - whole)


def _recursion(emitted: Array, skips: Array) -> Array:
    """Return log α_t(s) = log y_t(s) + log (α_{t−1}(s) + α_{t−1}(s − 1) + α_{t−1}(s − 2) where it may skip)."""
    out = np.full(emitted.shape, -np.inf)
    out[0, :2] = emitted[0, :2]
    for t in range(1, len(emitted)):
        stay = out[t - 1]
        step = np.concatenate([[-np.inf], stay[:-1]])
        skip = np.where(skips, np.concatenate([[-np.inf, -np.inf], stay[:-2]]), -np.inf)
        out[t] = emitted[t] + np.logaddexp(np.logaddexp(stay, step), skip)
    return out
