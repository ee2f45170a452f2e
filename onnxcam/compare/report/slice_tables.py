"""Tables of slices in a report: by the ground truth and of agreement, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.report.formatting import number
from onnxcam.compare.slices import ENOUGH, AgreementSlice, TruthSlice, sentence
from onnxcam.text import visible

if TYPE_CHECKING:
    from onnxcam.compare.validation import Validation

__all__ = ["SHOWN", "slice_tables"]

SHOWN = 30
"""Maximum number of classes in a table; all are in validation.json."""
_PIXELS = {"small": "below 32²", "medium": "32² to 96²", "large": "from 96²"}
_KINDS = {"class": "By class", "size": "By size of the object", "number": "By number", "keypoint": "By keypoint"}


def slice_tables(validation: Validation) -> dict[str, Any]:
    """Return the variables of the template for slices."""
    truth = () if validation.truth is None else validation.truth.slices
    return {
        "slices_sentence": visible(sentence(validation.slices, validation.truth), 400),
        "slices_enough": ENOUGH,
        "slices_of": "objects" if validation.task in ("detection", "segmentation") else "images",
        "truth_slices": [_truth(kind, [one for one in truth if one.kind == kind]) for kind in _kinds(truth)],
        "agreement_slices": [
            _agreement(kind, [one for one in validation.slices if one.kind == kind])
            for kind in _kinds(validation.slices)
        ],
    }


def _kinds(own: Sequence[TruthSlice] | Sequence[AgreementSlice]) -> list[str]:
    return list(dict.fromkeys(one.kind for one in own))


def _truth(kind: str, own: Sequence[TruthSlice]) -> dict[str, Any]:
    metric = own[0].metric
    rows = [
        {
            "name": _name(one),
            "objects": f"{one.objects:,}",
            "numbers": [number(metric, one.reference), number(metric, one.candidate)],
            "change": _change(metric, one),
            "worse": one.objects >= ENOUGH and one.lost >= _marked(metric),
            "few": one.objects < ENOUGH,
        }
        for one in own[:SHOWN]
    ]
    left = len(own) - len(rows)
    return {"title": _KINDS[kind], "metric": AGREEMENT_METRICS[metric].title, "rows": rows, "left": max(left, 0)}


def _agreement(kind: str, own: Sequence[AgreementSlice]) -> dict[str, Any]:
    metrics = [metric for metric in AGREEMENT_METRICS if any(metric in one.values for one in own)]
    first = next(iter(own[0].values))
    metrics = [first, *(metric for metric in metrics if metric != first)]
    rows = [
        {
            "name": _name(one),
            "objects": f"{one.objects:,}",
            "numbers": [number(metric, one.values[metric]) if metric in one.values else "–" for metric in metrics],
            "few": one.objects < ENOUGH,
        }
        for one in own[:SHOWN]
    ]
    titles = [(metric, AGREEMENT_METRICS[metric].title) for metric in metrics]
    return {"title": _KINDS[kind], "metrics": titles, "rows": rows, "left": max(len(own) - len(rows), 0)}


def _name(one: TruthSlice | AgreementSlice) -> str:
    name = visible(one.name, 80)
    return f"{name}, {_PIXELS[one.name]} pixels" if one.kind == "size" else name


def _change(metric: str, one: TruthSlice) -> str:
    change = one.candidate - one.reference
    return f"{change:+.3f}".replace("-", "−") if round(change, 3) else "0"


def _marked(metric: str) -> float:
    """Return the loss from which on a slice is marked: of shares; other numbers have units of their own."""
    return 0.05 if AGREEMENT_METRICS[metric].better == "higher" else float("inf")
