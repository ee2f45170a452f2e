"""Compare the maps of one explained thing, those of reference and candidate.

Maps are compared on one grid and one scale (`onnxcam.compare.alignment`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare import similarity
from onnxcam.compare.alignment import MapEvidence, common_grid
from onnxcam.compare.outcome import ObjectMap, Outcome
from onnxcam.metrics.base import Array
from onnxcam.metrics.localisation import energy_pointing
from onnxcam.targets.notation import Corners

__all__ = ["Kept", "ObjectComparison", "compare_maps"]

Kept: TypeAlias = "NDArray[np.float16] | None"

_SIDES = ("reference", "candidate")
_SHAPES: Mapping[str, Callable[[Array, Array], float]] = {
    "pearson": similarity.pearson,
    "spearman": similarity.spearman,
    "ssim": lambda a, b: similarity.ssim(a, b, 1.0),
    "iou": similarity.iou,
}


@dataclass(frozen=True)
class ObjectComparison:
    """Comparison of one explained thing in one image.

    Attributes:
        target: What is explained, a target in words of the reference.
        index: Its class; None if it has none.
        scores: Scores of reference and candidate; None if unknown.
        boxes: Boxes of both in pixels of the image; None if there is none.
        values: Value of each metric of maps that can be computed, and of others that belong to this thing alone.
        notes: Reasons why other metrics cannot be computed.
        maps: Maps of both over the whole image, float16 [h, w], longest side `SIDE`: the positive part divided by the
            common maximum, in 255 steps from 0 to 1, and 0 outside the model's view. None if missing.
    """

    target: str
    index: int | None
    scores: tuple[float | None, float | None]
    boxes: tuple[Corners | None, Corners | None]
    values: Mapping[str, float]
    notes: tuple[str, ...]
    maps: tuple[Kept, Kept]


def compare_maps(
    outcomes: tuple[Outcome, Outcome], pair: tuple[ObjectMap, ObjectMap], mask: NDArray[np.bool_] | None = None
) -> ObjectComparison:
    """Compare the maps of one thing, of the *outcomes* of reference and candidate; *mask* bool [H, W] is its truth."""
    values, kept, notes = _compared(outcomes, pair, mask)
    first, second = pair
    return ObjectComparison(
        target=first.target,
        index=first.index,
        scores=(first.score, second.score),
        boxes=(first.box, second.box),
        values={name: value for name, value in values.items() if np.isfinite(value)},
        notes=tuple(notes),
        maps=kept,
    )


def _compared(
    outcomes: tuple[Outcome, Outcome], pair: tuple[ObjectMap, ObjectMap], mask: NDArray[np.bool_] | None
) -> tuple[dict[str, float], tuple[Kept, Kept], list[str]]:
    """Return the metrics of the maps, the maps to store, and notes."""
    blank = [_why_blank(one) for one in pair]
    notes = [f"the {side}{why}" for side, why in zip(_SIDES, blank, strict=True) if why]
    known = all(outcome.prediction.in_units for outcome in outcomes)
    first, second = (
        None if why or one.map is None else MapEvidence.of(one.map, outcome)
        for why, one, outcome in zip(blank, pair, outcomes, strict=True)
    )
    kept = _kept(first, second, known)
    if pair[1].index is not None and pair[0].index != pair[1].index:
        why = f"maps of different classes, {pair[0].index} and {pair[1].index}, are not compared"
        return {}, kept, [*notes, why]
    if first is None or second is None:
        return ({} if first is None else {"mapped": 0.0}), kept, notes
    grid = common_grid(first, second, outcomes[0].spacing)
    if grid is None:
        return {"mapped": 1.0}, kept, ["the models see no common part of the image"]
    a, b = grid.align(first, second, shared=known)
    values = {"mapped": 1.0, **{name: measure(a, b) for name, measure in _SHAPES.items()}}
    values["peak"] = similarity.peak_distance(a, b, grid.spacing)
    values["shift"] = similarity.mass_shift(a, b, grid.spacing)
    if known:
        values["strength"] = similarity.strength(a, b)
    if mask is not None:
        own, other = (energy_pointing(one.over_picture(), mask) for one in (first, second))
        values |= {"energy": other, "energy_lost": own - other}
    even = [side for side, heat in zip(_SIDES, (a, b), strict=True) if similarity.is_constant(heat)]
    return values, kept, [f"no correlation: the {side}'s map is the same everywhere" for side in even]


def _why_blank(one: ObjectMap) -> str:
    """Return why there is no map to compare, "" if there is one."""
    if one.map is None:
        return f" has no map: {one.why or 'none was recorded'}"
    if not np.isfinite(one.map).all():
        return "'s map holds NaN or infinity"
    return "" if one.map.max(initial=0) > 0 else f"'s map is blank: no positive evidence for {one.subject}"


def _kept(first: MapEvidence | None, second: MapEvidence | None, shared: bool) -> tuple[Kept, Kept]:
    """Return both maps over the image for the report, divided by the common maximum if *shared*, else by their own."""
    drawn = [None if one is None else one.thumbnail() for one in (first, second)]
    tops = [0.0 if heat is None else float(heat.max()) for heat in drawn]
    a, b = (
        None
        if heat is None
        else (np.round(255 * heat / ((max(tops) if shared else top) or 1)) / 255).astype(np.float16)
        for heat, top in zip(drawn, tops, strict=True)
    )
    return a, b
