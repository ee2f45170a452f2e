"""The measures of agreement between a reference and a candidate: a table of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AGREEMENT_METRICS", "DISTANCES", "MAP_METRICS", "TRUTH_METRICS", "AgreementMetric", "loss_id", "loss_of"]


@dataclass(frozen=True)
class AgreementMetric:
    """Measure of agreement: id, title, which direction is better, unit ("" for a plain number), and decimals.

    *digits* is 0 for yes or no. *total*: it is measured over all images at once, so that no single image has it.
    """

    id: str
    title: str
    better: Literal["higher", "lower"]
    unit: str = ""
    digits: int = 3
    total: bool = False


_PREDICTIONS = (
    AgreementMetric("top1", "same top class", "higher", "share", 0),
    AgreementMetric("top5", "reference's top class among the candidate's first five", "higher", "share", 0),
    AgreementMetric("cosine", "cosine of the scores or vectors", "higher"),
    AgreementMetric("kl", "KL divergence of the probabilities", "lower", "nats", 4),
    AgreementMetric("kept", "reference's objects that the candidate finds as well", "higher", "share"),
    AgreementMetric("extra", "candidate's objects that the reference does not find", "lower", "share"),
    AgreementMetric("flipped", "reference's objects that the candidate finds as another class", "lower", "share"),
    AgreementMetric("box_iou", "IoU of the boxes of an object", "higher"),
    AgreementMetric("score_change", "change of the score of an object", "lower"),
    AgreementMetric("same_pixels", "pixels of the same class", "higher", "share"),
    AgreementMetric("class_iou", "IoU of the regions of a class", "higher"),
    AgreementMetric("dice", "Dice coefficient of the regions of a class", "higher"),
    AgreementMetric("boundary", "boundaries within one pixel of each other (F-score)", "higher"),
    AgreementMetric("same_text", "same text", "higher", "share", 0),
    AgreementMetric("character_error", "edits per character of the text", "lower"),
    AgreementMetric("word_error", "edits per word of the caption", "lower"),
    AgreementMetric("neighbours", "same nearest images by the embeddings", "higher", "share"),
    AgreementMetric("number_error", "difference of the numbers by their spread over the images", "lower"),
    AgreementMetric("keypoint_shift", "shift of the keypoints", "lower", "of the diagonal"),
    AgreementMetric("near_keypoints", "keypoints that shift by at most 2 % of the diagonal", "higher", "share"),
    AgreementMetric("value_correlation", "Pearson correlation of the output maps", "higher"),
    AgreementMetric("value_error", "mean difference of the output maps", "lower", "of their range"),
    AgreementMetric("psnr", "peak signal-to-noise ratio of the output images", "higher", "dB", 1),
    AgreementMetric("image_ssim", "structural similarity of the output images", "higher"),
    AgreementMetric("detail", "correlation of the fine detail of the output images", "higher"),
    AgreementMetric("near_points", "points of lanes within 2 % of the width of each other", "higher", "share"),
    AgreementMetric("lane_shift", "shift of the lanes", "lower", "of the width"),
    AgreementMetric("output_error", "largest error of an output by the reference's spread", "lower"),
)
_MAPS = (
    AgreementMetric("mapped", "candidate has a map where the reference has one", "higher", "share", 0),
    AgreementMetric("pearson", "Pearson correlation of the maps", "higher"),
    AgreementMetric("spearman", "Spearman correlation of the maps", "higher"),
    AgreementMetric("ssim", "structural similarity of the maps", "higher"),
    AgreementMetric("iou", "IoU of the top 20 % of the maps", "higher"),
    AgreementMetric("peak", "distance of the peaks", "lower", "of the diagonal"),
    AgreementMetric("shift", "shift of the centre of mass", "lower", "of the diagonal"),
    AgreementMetric("strength", "evidence of the weaker map by the stronger", "higher"),
)
_TRUTH = (
    AgreementMetric("accuracy", "top-1 accuracy", "higher", "share", 0),
    AgreementMetric("accuracy_lost", "reference right and candidate wrong, less the reverse", "lower", "share"),
    AgreementMetric("energy", "candidate's share inside the object", "higher", "share"),
    AgreementMetric("energy_lost", "share inside the object that the candidate lost", "lower", "share"),
)


def _totals(id: str, title: str, better: Literal["higher", "lower"], unit: str = "") -> list[AgreementMetric]:
    """Return the metric of the candidate by the truth, and by how much it is worse than the reference's."""
    worse = AgreementMetric(loss_id(id, better), f"{title}: loss of the candidate", "lower", unit, total=True)
    return [AgreementMetric(id, title, better, unit, total=True), worse]


def loss_id(id: str, better: str) -> str:
    """Return the id of the metric that says how much worse the candidate is."""
    return f"{id}_lost" if better == "higher" else f"{id}_added"


_TOTALS = (
    *_totals("accuracy5", "top-5 accuracy", "higher", "share"),
    *_totals("map50_95", "mAP at IoU 0.5 to 0.95", "higher"),
    *_totals("map50", "mAP at IoU 0.5", "higher"),
    *_totals("miou", "mean IoU", "higher"),
    *_totals("text_accuracy", "texts that are right", "higher", "share"),
    *_totals("true_character_error", "character error rate", "lower"),
    *_totals("absolute_error", "mean absolute error", "lower"),
    *_totals("oks", "object keypoint similarity", "higher"),
    *_totals("keypoint_distance", "distance of the keypoints", "lower", "of the object"),
    *_totals("recall1", "recall at 1", "higher", "share"),
)

AGREEMENT_METRICS: dict[str, AgreementMetric] = {one.id: one for one in (*_PREDICTIONS, *_MAPS, *_TRUTH, *_TOTALS)}
"""Agreement metrics by id, in the order of tables."""
MAP_METRICS = tuple(one.id for one in _MAPS)
"""Ids of the metrics of maps, which every task has."""
DISTANCES = ("peak", "shift")
"""Ids of the metrics of maps that are fractions of the image's diagonal."""
TRUTH_METRICS = tuple(one.id for one in (*_TRUTH, *_TOTALS))
"""Ids of the metrics that need ground truth."""


def loss_of(metric: str, reference: float, candidate: float) -> float:
    """Return by how much the *candidate*'s value of *metric* is worse than the *reference*'s."""
    return reference - candidate if AGREEMENT_METRICS[metric].better == "higher" else candidate - reference
