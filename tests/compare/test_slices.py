"""Slices by class and size: means, order, the sentence that names the worst, and their tables in the report."""

from __future__ import annotations

import pytest

from onnxcam.compare.on_access import OnAccess
from onnxcam.compare.report.html import html
from onnxcam.compare.slices import (
    AgreementSlice,
    SliceItem,
    TruthScores,
    TruthSlice,
    agreement_slices,
    as_dict,
    sentence,
    truth_slices,
)
from tests.compare.validations import PHOTO, pair, validation

METRICS = ("kept", "iou")


def item(index: int, area: float | None, **values: float) -> SliceItem:
    return SliceItem(index, area, values)


def test_agreement_by_class_and_size_by_hand() -> None:
    items = [
        item(0, 10.0, kept=1.0),
        item(0, 2000.0, kept=0.0),
        item(1, 10.0, kept=1.0),
        item(1, 10.0, iou=0.5),  # the map of an object that is counted already
        item(2, None, iou=0.9),  # of no counted object
    ]
    assert agreement_slices(items, METRICS, ["cat"]) == [
        AgreementSlice("class", "cat", 2, {"kept": 0.5}),
        AgreementSlice("class", "class 1", 1, {"kept": 1.0, "iou": 0.5}),
        AgreementSlice("size", "medium", 1, {"kept": 0.0}),
        AgreementSlice("size", "small", 2, {"kept": 1.0, "iou": 0.5}),
    ]


def test_the_worst_loss_comes_first() -> None:
    found = truth_slices("map50_95", "class", {0: 5, 1: 20}, [{0: 0.9, 1: 0.8}, {0: 0.9, 1: 0.3}], ["cat", "dog"])
    assert [one.name for one in found] == ["dog", "cat"]
    assert found[0].lost == pytest.approx(0.5)
    errors = TruthSlice("keypoint", "nose", 20, "keypoint_distance", 0.1, 0.3)
    assert errors.lost == pytest.approx(0.2)  # of an error, more is worse


def scores(*slices: TruthSlice) -> TruthScores:
    return TruthScores({"map50_95": (0.8, 0.7)}, slices)


LOST = TruthSlice("class", "dog", 20, "map50_95", 0.8, 0.3)
FEW = TruthSlice("class", "cat", 9, "map50_95", 0.9, 0.1)
SMALL = TruthSlice("size", "small", 40, "map50_95", 0.8, 0.2)
NUMBER = TruthSlice("number", "number 1", 40, "absolute_error", 3.0, 9.0)
AGREED = [AgreementSlice("class", "cat", 30, {"kept": 0.9}), AgreementSlice("size", "small", 12, {"kept": 0.5})]


@pytest.mark.parametrize(
    ("agreement", "truth", "words"),
    [
        ([], None, ""),
        ([], scores(FEW), ""),  # too few objects
        (
            [],
            scores(FEW, LOST),
            "the candidate loses most on 'dog' (20 objects), by the truth: mAP at IoU 0.5 to 0.95 is 0.300, the",
        ),
        (
            AGREED,
            scores(SMALL),
            "the candidate loses most on small objects (40), by the truth: mAP",
        ),
        (AGREED, scores(NUMBER), "the two agree least on small objects (12): kept is 0.500, over all 0.900"),
        (AGREED, None, "the two agree least on small objects (12): kept is 0.500, over all 0.900"),
        (AGREED[:1], None, ""),
    ],
)
def test_the_sentence_names_the_worst(agreement: list[AgreementSlice], truth: TruthScores | None, words: str) -> None:
    found = sentence(agreement, truth)
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_as_json() -> None:
    found = as_dict(AGREED, scores(LOST))
    assert found["truth"] == [
        {
            "kind": "class",
            "name": "dog",
            "objects": 20,
            "metric": "map50_95",
            "reference": 0.8,
            "candidate": 0.3,
            "lost": 0.5,
        }
    ]
    assert found["agreement"][1] == {"kind": "size", "name": "small", "objects": 12, "values": {"kept": 0.5}}


def test_the_report_has_the_tables() -> None:
    hostile = TruthSlice("class", "<b>\u202ecow", 20, "map50_95", 0.8, 0.7)
    page = html(validation([pair(PHOTO)], truth=scores(LOST, FEW, hostile, SMALL), slices=AGREED))
    assert "By class, by the ground truth: mAP at IoU 0.5 to 0.95" in page
    assert "small, below 32² pixels" in page
    assert "−0.500" in page
    assert "<b>" not in page.partition("By class and size")[2].partition("</section>")[0]
    assert "The candidate loses most on small objects (40)" in page
    many = [TruthSlice("class", f"class {n}", 20, "map50_95", 0.8, 0.7) for n in range(40)]
    assert "10 more are in validation.json" in html(validation([pair(PHOTO)], truth=scores(*many)))
    assert "By class and size" not in html(validation([pair(PHOTO)]))


def test_items_on_access() -> None:
    found = OnAccess(lambda at: at * at, 4)
    assert (list(found), found[-1], found[1:3], len(found)) == ([0, 1, 4, 9], 9, [1, 4], 4)
    with pytest.raises(IndexError):
        found[4]
