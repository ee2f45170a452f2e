"""Compare the outcomes of reference and candidate for one image.

Maps are compared on one grid and one scale (`onnxcam.compare.alignment`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare import similarity
from onnxcam.compare.alignment import MapEvidence, common_grid
from onnxcam.compare.outcome import Outcome
from onnxcam.errors import MetricError
from onnxcam.metrics.base import Array
from onnxcam.metrics.localisation import energy_pointing

__all__ = ["AGREEMENT_METRICS", "AgreementMetric", "ImageComparison", "Kept", "compare_outcomes"]

Kept: TypeAlias = "NDArray[np.float16] | None"


@dataclass(frozen=True)
class AgreementMetric:
    """Measure of agreement: id, title, which direction is better, and unit ("" for a plain number)."""

    id: str
    title: str
    better: Literal["higher", "lower"]
    unit: str = ""


AGREEMENT_METRICS: dict[str, AgreementMetric] = {
    one.id: one
    for one in (
        AgreementMetric("top1", "same top class", "higher", "share"),
        AgreementMetric("top5", "reference's top class among the candidate's first five", "higher", "share"),
        AgreementMetric("cosine", "cosine of the scores", "higher"),
        AgreementMetric("kl", "KL divergence of the probabilities", "lower", "nats"),
        AgreementMetric("mapped", "candidate has a map where the reference has one", "higher", "share"),
        AgreementMetric("pearson", "Pearson correlation of the maps", "higher"),
        AgreementMetric("spearman", "Spearman correlation of the maps", "higher"),
        AgreementMetric("ssim", "structural similarity of the maps", "higher"),
        AgreementMetric("iou", "IoU of the top 20 % of the maps", "higher"),
        AgreementMetric("peak", "distance of the peaks", "lower", "of the diagonal"),
        AgreementMetric("shift", "shift of the centre of mass", "lower", "of the diagonal"),
        AgreementMetric("strength", "evidence of the weaker map by the stronger", "higher"),
        AgreementMetric("accuracy", "candidate's top class is one of the truth", "higher", "share"),
        AgreementMetric("accuracy_lost", "reference right and candidate wrong, less the reverse", "lower", "share"),
        AgreementMetric("energy", "candidate's share inside the object", "higher", "share"),
        AgreementMetric("energy_lost", "share inside the object that the candidate lost", "lower", "share"),
    )
}
"""Agreement metrics by id, in the order of tables."""

_SIDES = ("reference", "candidate")
_SHAPES: Mapping[str, Callable[[Array, Array], float]] = {
    "pearson": similarity.pearson,
    "spearman": similarity.spearman,
    "ssim": lambda a, b: similarity.ssim(a, b, 1.0),
    "iou": similarity.iou,
}


@dataclass(frozen=True)
class ImageComparison:
    """Comparison of reference and candidate for one image.

    Attributes:
        picture: Path of the image, as given.
        sha256: SHA-256 of the image file.
        size: (H, W) of the image.
        target: Explained class.
        tops: Top classes of reference and candidate.
        confidence: Probabilities of these top classes; None if the model gives no probability.
        values: Value of each metric of `AGREEMENT_METRICS` that can be computed.
        notes: Reasons why other metrics cannot be computed.
        maps: Maps of reference and candidate over the whole image, float16 [h, w], longer side `SIDE`: the positive
            part divided by the common maximum, in 255 steps from 0 to 1, and 0 outside the model's view. None if
            missing.
    """

    picture: str
    sha256: str
    size: tuple[int, int]
    target: int
    tops: tuple[int, int]
    confidence: tuple[float | None, float | None]
    values: Mapping[str, float]
    notes: tuple[str, ...]
    maps: tuple[Kept, Kept]


def compare_outcomes(
    reference: Outcome,
    candidate: Outcome,
    mask: NDArray[np.bool_] | None = None,
    classes: Collection[int] | None = None,
    why: str = "",
) -> ImageComparison:
    """Compare two outcomes of one image.

    Args:
        reference: Outcome of the reference.
        candidate: Outcome of the candidate.
        mask: Ground-truth mask of the explained class, bool [H, W]; None if unknown.
        classes: Ground-truth classes in the image; None if unknown.
        why: Note that explains a missing mask.

    Raises:
        MetricError: the outcomes are of different images, or have different numbers of classes.
    """
    _check(reference, candidate)
    values, notes = _compare_scores(reference, candidate)
    if classes:
        right = [float(_top(outcome) in classes) for outcome in (reference, candidate)]
        values |= {"accuracy": right[1], "accuracy_lost": right[0] - right[1]}
    found, kept, more = _compare_maps(reference, candidate, mask)
    return ImageComparison(
        picture=reference.picture,
        sha256=reference.sha256,
        size=reference.size,
        target=reference.target,
        tops=(_top(reference), _top(candidate)),
        confidence=(_confidence(reference), _confidence(candidate)),
        values={name: value for name, value in {**values, **found}.items() if math.isfinite(value)},
        notes=(*([why] if why else ()), *notes, *more),
        maps=kept,
    )


def _check(reference: Outcome, candidate: Outcome) -> None:
    if reference.sha256 != candidate.sha256:
        raise MetricError(
            f"{reference.picture} of the reference and {candidate.picture} of the candidate are different images; "
            "give both the same files"
        )
    counts = len(reference.scores), len(candidate.scores)
    if counts[0] != counts[1]:
        raise MetricError(
            f"the reference has {counts[0]} classes and the candidate {counts[1]}: classes are compared by index, so "
            "both must have the same"
        )


def _compare_scores(reference: Outcome, candidate: Outcome) -> tuple[dict[str, float], list[str]]:
    values, notes = {"top1": float(_top(reference) == _top(candidate))}, []
    if len(reference.scores) > 5:
        first = np.argsort(-candidate.scores.astype(np.float64), kind="stable")[:5]
        values["top5"] = float(_top(reference) in first)
    p, q = reference.probabilities, candidate.probabilities
    if reference.head == candidate.head:
        values["cosine"] = similarity.cosine(reference.scores, candidate.scores)
    elif p is not None and q is not None:
        values["cosine"] = similarity.cosine(p, q)
    if p is not None and q is not None:
        values["kl"] = similarity.kl(p, q, reference.exclusive)
    else:
        whose = "reference" if p is None else "candidate"
        notes.append(f"no KL: the {whose}'s scores are integers without known units, which give no probabilities")
    return values, notes


def _top(outcome: Outcome) -> int:
    return int(np.argmax(outcome.scores))


def _confidence(outcome: Outcome) -> float | None:
    found = math.nan if outcome.probabilities is None else float(outcome.probabilities[_top(outcome)])
    return found if math.isfinite(found) else None


def _compare_maps(
    reference: Outcome, candidate: Outcome, mask: NDArray[np.bool_] | None
) -> tuple[dict[str, float], tuple[Kept, Kept], list[str]]:
    """Return the metrics of the maps, the maps to store, and notes."""
    blank = [_why_blank(outcome) for outcome in (reference, candidate)]
    notes = [f"the {side}{why}" for side, why in zip(_SIDES, blank, strict=True) if why]
    known = reference.probabilities is not None and candidate.probabilities is not None
    first, second = (
        None if why else MapEvidence.of(outcome) for why, outcome in zip(blank, (reference, candidate), strict=True)
    )
    kept = _kept(first, second, known)
    if reference.target != candidate.target:
        why = f"maps of different classes, {reference.target} and {candidate.target}, are not compared"
        return {}, kept, [*notes, why]
    if first is None or second is None:
        return ({} if first is None else {"mapped": 0.0}), kept, notes
    grid = common_grid(first, second)
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


def _why_blank(outcome: Outcome) -> str:
    """Return why the outcome has no map to compare, "" if it has one."""
    if outcome.map is None:
        return f" has no map: {outcome.why or 'none was recorded'}"
    if not np.isfinite(outcome.map).all():
        return "'s map holds NaN or infinity"
    return "" if outcome.map.max(initial=0) > 0 else f"'s map is blank: no positive evidence for class {outcome.target}"


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
