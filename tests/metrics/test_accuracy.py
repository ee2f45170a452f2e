"""Accuracy, IoU and mean average precision by the truth: by hand, against slow replicas, and every message."""

from __future__ import annotations

import re

import numpy as np
import pytest

from onnxcam.errors import MetricError, TruthError
from onnxcam.metrics.accuracy import accuracy, mean_iou
from onnxcam.metrics.accuracy_detections import mean_average_precision
from onnxcam.metrics.truth import Annotation, Object

NAMES = ["cat", "dog", "cow"]
ONE = Annotation((Object(0, (0, 0, 1, 1)),))


def of(*labels: str | int) -> Annotation:
    return Annotation(classes=labels)


def test_accuracy_by_hand() -> None:
    found = accuracy([0, 1, 1, 2], [of("cat"), of("cat"), of("dog", 2), None], 3, NAMES)
    assert found.top1 == pytest.approx(2 / 3)
    assert found.by_class == {0: 0.5, 1: 1.0, 2: 1.0}
    assert found.images == 3


def test_classes_of_objects_count() -> None:
    boxed = Annotation((Object("dog", (0, 0, 1, 1)),))
    assert accuracy([1], [boxed], 3, NAMES).top1 == 1


def test_iou_by_hand() -> None:
    true = np.array([[0, 0, 1, 1], [0, 0, 1, -1]])
    predicted = np.array([[0, 1, 1, 1], [0, 0, 0, 2]])
    found = mean_iou([predicted, predicted], [Annotation(mask=true), None], 3)
    assert found.by_class == {
        0: pytest.approx(3 / 5),
        1: pytest.approx(2 / 4),
    }  # 2: no known pixel
    assert found.mean == pytest.approx(0.55)
    assert found.images == 1


def test_iou_is_that_of_sets_of_pixels() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(-1, 5, (4, 9, 7)), rng.integers(0, 5, (4, 9, 7))
    found = mean_iou(list(predicted), [Annotation(mask=mask) for mask in true], 5)
    for one in range(5):
        known = true >= 0
        a, b = (true == one) & known, (predicted == one) & known
        assert found.by_class[one] == pytest.approx((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize(
    ("error", "message", "run"),
    [
        (MetricError, "2 predictions for 1 images; give one for each", lambda: accuracy([0, 1], [of("cat")], 3)),
        (TruthError, "the truth has classes that the model does not have: ",
         lambda: accuracy([0], [of("hen")], 3, NAMES)),
        (TruthError, "class 7 is out of range: the model has 3 classes", lambda: accuracy([0], [of(7)], 3, NAMES)),
        (TruthError, "the truth names no class of any image", lambda: accuracy([0], [Annotation()], 3, NAMES)),
        (TruthError, "the truth has no mask of classes; give masks",
         lambda: mean_iou([np.zeros((2, 2), int)], [of(0)], 3)),
        (TruthError, "a mask of the truth holds class 25; the model has 3 classes, the last is 'cow'",
         lambda: mean_iou([np.zeros((1, 1), int)], [Annotation(mask=np.array([[25]]))], 3, NAMES)),
        (MetricError, "has shape (2, 2), the true one (1, 1)",
         lambda: mean_iou([np.zeros((2, 2), int)], [Annotation(mask=np.array([[0]]))], 3)),
        (MetricError, "a predicted mask holds a class outside of 0 to 2",
         lambda: mean_iou([np.array([[3]])], [Annotation(mask=np.array([[0]]))], 3)),
        (TruthError, "has no object with a box in any image",
         lambda: mean_average_precision([([], [], [])], [Annotation()], 3)),
        (TruthError, "the truth names no classes of its objects, and the model has several",
         lambda: mean_average_precision([([], [], [])], [Annotation((Object(None, (0, 0, 1, 1)),))], 3)),
        (MetricError, "detections are boxes [B, 4], scores [B] and class indices [B], not (1, 3)",
         lambda: mean_average_precision([([[0, 0, 1]], [1], [0])], [ONE], 3)),
        (MetricError, "is NaN or infinite",
         lambda: mean_average_precision([([[0, 0, 1, 1]], [np.nan], [0])], [ONE], 3)),
        (MetricError, "a predicted class is outside of 0 to 2",
         lambda: mean_average_precision([([[0, 0, 1, 1]], [1], [3])], [ONE], 3)),
    ],
)  # fmt: skip
def test_what_does_not_fit(error: type[Exception], message: str, run) -> None:
    with pytest.raises(error, match=re.escape(message)):
        run()


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    with pytest.raises(MetricError, match=r"pycocotools, which is not installed; pip install 'onnxcam\[truth"):
        mean_average_precision([([], [], [])], [ONE], 1)


@pytest.fixture
def library() -> None:
    pytest.importorskip("pycocotools", reason="the extra onnxcam[truth] is not installed")


@pytest.mark.usefixtures("library")
def test_average_precision_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """Two cats, three detections: right (IoU 1), wrong, right (IoU 0.8).

    Up to IoU 0.8 the precision is 1 up to recall 1/2 (51 points), then 2/3 (50 points); above it is 1, then 0.
    """
    truth = Annotation((Object("cat", (0, 0, 10, 10)), Object("cat", (50, 50, 150, 150))))
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 150, 130]]
    found = mean_average_precision([(boxes, [0.9, 0.8, 0.7], [0, 0, 0])], [truth], 3, NAMES)
    low, high = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert found.map50 == pytest.approx(low)
    assert found.map == pytest.approx((7 * low + 3 * high) / 10)
    assert found.by_class == {0: pytest.approx(found.map)}
    assert found.small == pytest.approx(1)  # the wrong one comes later
    assert found.medium is None
    assert found.large == pytest.approx(0.7)
    assert (found.images, found.objects) == (1, 2)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("library")
def test_crowds_and_difficult_objects_are_ignored() -> None:
    own = (
        Object(0, (0, 0, 10, 10)),
        Object(0, (20, 0, 30, 10), difficult=True),
        Object(0, (0, 50, 90, 90), crowd=True),
    )
    boxes = [[20, 0, 30, 10], [0, 50, 20, 60], [40, 50, 60, 60], [0, 0, 10, 10]]
    found = mean_average_precision([(boxes, [0.9, 0.8, 0.7, 0.6], [0] * 4)], [Annotation(own)], 1)
    assert found.map == pytest.approx(1)
    assert found.objects == 1


def iou(a: np.ndarray, b: np.ndarray) -> float:
    across = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return across / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - across)


def slow_precision(predictions: list, annotations: list[Annotation], kind: int, least: float) -> float:
    """Average precision of one class at one threshold, from the definition: greedy by score, 101 recalls."""
    rows, total = [], 0
    for (boxes, scores, kinds), annotation in zip(predictions, annotations, strict=True):
        true = [np.array(one.box) for one in annotation.objects if one.label == kind]
        total += len(true)
        free = set(range(len(true)))
        for place in sorted(np.flatnonzero(kinds == kind), key=lambda place: -scores[place])[:100]:
            fit = {one: iou(boxes[place], true[one]) for one in free}
            best = max(fit, key=fit.get, default=None)
            right = best is not None and fit[best] >= least
            free -= {best} if right else set()
            rows.append((scores[place], right))
    rows.sort(key=lambda row: -row[0])
    hits = np.cumsum([right for _, right in rows])
    recall, precision = hits / total, hits / np.arange(1, len(rows) + 1)
    return float(np.mean([max(precision[recall >= level], default=0) for level in np.linspace(0, 1, 101)]))


@pytest.mark.usefixtures("library")
def test_average_precision_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(3)
    predictions, annotations = [], []
    for _ in range(12):
        corner, side = rng.uniform(0, 200, (8, 2)), rng.uniform(8, 150, (8, 2))
        true, kinds = np.hstack([corner, corner + side]), rng.integers(0, 3, 8)
        annotations.append(
            Annotation(tuple(Object(int(k), tuple(box.tolist())) for k, box in zip(kinds, true, strict=True)))
        )
        boxes = np.vstack([true + rng.normal(0, 6, true.shape), true[rng.permutation(8)]])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        guessed = np.r_[np.where(rng.random(8) < 0.8, kinds, rng.integers(0, 3, 8)), rng.integers(0, 3, 8)]
        predictions.append((boxes, rng.permutation(1000)[:16] / 1000 + len(predictions) * 1e-5, guessed))
    found = mean_average_precision(predictions, annotations, 3)
    steps = np.arange(0.5, 0.96, 0.05)
    own = {kind: [slow_precision(predictions, annotations, kind, least) for least in steps] for kind in range(3)}
    assert 0.1 < found.map < 0.9
    assert found.map == pytest.approx(np.mean([*own.values()]), abs=1e-9)
    assert found.map50 == pytest.approx(np.mean([one[0] for one in own.values()]), abs=1e-9)
    for kind, values in own.items():
        assert found.by_class[kind] == pytest.approx(np.mean(values), abs=1e-9)
