"""Pairs of outcomes: which grid, which scale, and what is absent and why."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcam.compare import agreement
from onnxcam.compare.alignment import SIDE
from onnxcam.compare.image_comparison import compare_outcomes
from onnxcam.compare.tasks.classification import ClassScores
from onnxcam.errors import MetricError
from onnxcam.media.frame import Frame
from tests.compare.twins import outcome

MAP_METRICS = {"pearson", "spearman", "ssim", "iou", "peak", "shift", "strength"}


def heat(seed: int = 0, side: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).random((side, side)).astype(np.float32)


def test_a_model_agrees_with_itself() -> None:
    own = outcome(heat(), scores=(0.05, 0.4, 0.2, 0.1, 0.1, 0.1, 0.05))
    pair = compare_outcomes(own, own, np.eye(64) > 0, {1})
    truth = {"accuracy", "accuracy_lost", "energy", "energy_lost"}  # of one image; others are of all images
    assert set(pair.values) == {*ClassScores.metrics, *agreement.MAP_METRICS, *truth}
    for id in pair.values:
        perfect = 1.0 if agreement.AGREEMENT_METRICS[id].better == "higher" else 0.0
        if id != "energy":
            assert pair.values[id] == pytest.approx(perfect, abs=1e-6), id
    assert pair.notes == ()
    assert pair.tops == (1, 1)
    assert pair.confidence == (0.4, 0.4)


def test_a_candidate_that_looks_elsewhere() -> None:
    left, right = np.zeros((7, 7)), np.zeros((7, 7))
    left[3, 1] = right[3, 5] = 1
    found = compare_outcomes(outcome(left), outcome(right)).values
    assert found["iou"] == 0
    assert found["pearson"] < 0
    assert found["strength"] == pytest.approx(1, rel=1e-5)
    diagonal = np.hypot(64, 64)
    assert found["peak"] == pytest.approx(4 / 7 * 64 / diagonal, abs=0.02)
    assert found["shift"] == pytest.approx(4 / 7 * 64 / diagonal, abs=0.01)


def test_a_tenth_of_the_evidence_at_the_same_place_is_told_by_ssim_and_strength_alone() -> None:
    found = compare_outcomes(outcome(heat()), outcome(heat() / 10)).values
    assert found["pearson"] == pytest.approx(1)
    assert found["iou"] == pytest.approx(1)
    assert found["strength"] == pytest.approx(0.1, rel=1e-4)
    assert found["ssim"] < 0.5


def test_integers_of_unknown_meaning_have_no_scale_and_no_kl() -> None:
    pair = compare_outcomes(outcome(heat()), outcome(heat() / 10, probabilities=None))
    assert pair.values["ssim"] == pytest.approx(1)
    assert "strength" not in pair.values
    assert "kl" not in pair.values
    assert pair.confidence == (0.7, None)
    assert pair.notes == (
        "no KL: the candidate's scores are integers without known units, which give no probabilities",
    )


def test_a_map_of_fewer_cells_holds_as_much_evidence() -> None:
    """Cells of twice the side hold the sum of four."""
    fine = heat(side=8)
    coarse = fine.reshape(4, 2, 4, 2).sum((1, 3))
    found = compare_outcomes(outcome(fine), outcome(coarse)).values
    assert found["strength"] == pytest.approx(1, abs=0.03)
    assert found["pearson"] > 0.5


def test_crops_are_compared_where_both_see_the_picture() -> None:
    """The reference sees all of it, the candidate the right half: the same evidence there is the same."""
    whole = np.zeros((8, 16), np.float32)
    whole[:, 8:] = heat(side=8)
    size = (64, 128)
    first = outcome(whole, size=size)
    second = outcome(whole[:, 8:], frame=Frame(64, 0, 128, 64), size=size)
    found = compare_outcomes(first, second).values
    assert found["iou"] > 0.9
    assert found["pearson"] > 0.95
    assert found["strength"] == pytest.approx(1, abs=0.05)
    apart = compare_outcomes(outcome(whole, frame=Frame(0, 0, 64, 64), size=size), second)
    assert apart.notes == ("the models see no common part of the image",)
    assert not MAP_METRICS & set(apart.values)


@pytest.mark.parametrize(
    ("candidate", "note"),
    [
        (outcome(-heat()), "the candidate's map is blank: no positive evidence for class 1"),
        (outcome(None, why="the gradient is zero"), "the candidate has no map: the gradient is zero"),
        (outcome(heat() * np.nan), "the candidate's map holds NaN or infinity"),
    ],
)
def test_a_candidate_without_a_map(candidate: object, note: str) -> None:
    pair = compare_outcomes(outcome(heat()), candidate)  # type: ignore[arg-type]
    assert pair.notes == (note,)
    assert pair.values["mapped"] == 0
    assert not MAP_METRICS & set(pair.values)
    assert pair.maps[0] is not None
    assert pair.maps[1] is None
    turned = compare_outcomes(candidate, outcome(heat()))  # type: ignore[arg-type]
    assert "mapped" not in turned.values


def test_maps_that_are_the_same_everywhere_have_no_correlation() -> None:
    pair = compare_outcomes(outcome(heat()), outcome(np.ones((7, 7))))
    assert {"pearson", "spearman"} & set(pair.values) == set()
    assert pair.notes == ("no correlation: the candidate's map is the same everywhere",)
    assert "iou" in pair.values


def test_maps_of_different_classes_are_not_compared() -> None:
    pair = compare_outcomes(outcome(heat(), target=1), outcome(heat(), target=2))
    assert pair.notes == ("maps of different classes, 1 and 2, are not compared",)
    assert not (MAP_METRICS | {"mapped"}) & set(pair.values)


def test_energy_and_accuracy() -> None:
    left, right = np.zeros((8, 8)), np.zeros((8, 8))
    left[:, :4] = right[:, 4:] = 1
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    pair = compare_outcomes(outcome(left), outcome(right, scores=(0.6, 0.3, 0.1)), mask, {1, 2})
    assert pair.values["energy"] < 0.1
    assert pair.values["energy"] + pair.values["energy_lost"] > 0.9
    assert pair.values["accuracy"] == 0
    assert pair.values["accuracy_lost"] == 1
    assert pair.values["top1"] == 0


def test_logits_beside_probabilities_are_compared_as_probabilities() -> None:
    own = outcome(heat())
    logits = outcome(heat(), scores=(0.1, 0.7, 0.2), head=None)
    assert compare_outcomes(own, logits).values["cosine"] == pytest.approx(1)


def test_top5_is_of_more_than_five_classes() -> None:
    scores = (0.4, 0.2, 0.1, 0.1, 0.1, 0.06, 0.04)
    turned = scores[::-1]
    assert compare_outcomes(outcome(heat(), scores), outcome(heat(), turned)).values["top5"] == 0
    assert "top5" not in compare_outcomes(outcome(heat()), outcome(heat())).values


def test_the_maps_that_are_kept_lie_over_the_picture() -> None:
    pair = compare_outcomes(
        outcome(heat(), size=(30, 60)), outcome(heat() / 2, size=(30, 60), frame=Frame(15, 0, 45, 30))
    )
    first, second = pair.maps
    assert first is not None
    assert second is not None
    assert first.shape == second.shape == (SIDE // 2, SIDE)
    assert first.dtype == np.float16
    assert max(float(first.max()), float(second.max())) == 1
    assert float(second.max()) < 1
    assert not second[:, :13].any()  # the candidate's crop begins at a quarter of the width
    assert second[:, 15:40].any()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"scores": (0.5, 0.5)}, "the reference has 3 classes and the candidate 2: classes are compared by index"),
        ({"sha256": "1" * 64}, "are different images; give both the same files"),
    ],
)
def test_what_does_not_belong_together(other: dict[str, object], message: str) -> None:
    import dataclasses

    second = outcome(heat(), scores=other.get("scores", (0.1, 0.7, 0.2)))  # type: ignore[arg-type]
    if "sha256" in other:
        second = dataclasses.replace(second, sha256=str(other["sha256"]))
    with pytest.raises(MetricError, match=message):
        compare_outcomes(outcome(heat()), second)
