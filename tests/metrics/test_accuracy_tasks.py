"""Accuracy by the truth of texts, numbers, keypoints, embeddings and regions: by hand, and against slow replicas."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from onnxcam.errors import MetricError, TruthError
from onnxcam.metrics.accuracy import accuracy, mean_iou
from onnxcam.metrics.accuracy_embeddings import recall_at_one
from onnxcam.metrics.accuracy_keypoints import SIGMAS, keypoint_accuracy, keypoint_similarity
from onnxcam.metrics.accuracy_numbers import number_error
from onnxcam.metrics.accuracy_text import edits, text_accuracy
from onnxcam.metrics.object_sizes import size_of
from onnxcam.metrics.truth import Annotation, Object

EXACT = 1e-9
ALONE = Annotation((Object(None, keypoints=((1, 1, 2),)),))


def test_sizes_as_coco_has_them() -> None:
    assert [size_of(area) for area in (0, 1023.9, 1024, 9215, 9216, 1e6)] == [
        *("small", "small", "medium", "medium", "large", "large")
    ]


def test_top_5_against_a_replica() -> None:
    rng = np.random.default_rng(0)
    ranked = np.stack([rng.permutation(20)[:5] for _ in range(200)])
    true = rng.integers(0, 20, 200)
    found = accuracy(ranked, [Annotation(classes=(int(one),)) for one in true], 20)
    assert found.top1 == pytest.approx(
        np.mean([row[0] == one for row, one in zip(ranked, true, strict=True)]), abs=EXACT
    )
    assert found.top5 == pytest.approx(np.mean([one in row for row, one in zip(ranked, true, strict=True)]), abs=EXACT)
    assert sum(found.counts.values()) == 200
    weighted = sum(found.by_class[one] * found.counts[one] for one in found.counts) / 200
    assert weighted == pytest.approx(found.top1, abs=EXACT)
    assert accuracy(ranked[:, :3], [Annotation(classes=(0,))] * 200, 20).top5 is None


def distance(a: str, b: str) -> int:
    """Edit distance from its definition."""

    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return of(len(a), len(b))


def test_character_errors_against_a_replica() -> None:
    rng = np.random.default_rng(1)
    texts = [["".join(rng.choice(list("ABC"), rng.integers(1, 8))) for _ in range(40)] for _ in range(2)]
    true, read = texts
    read[:5] = true[:5]
    found = text_accuracy(read, [*(Annotation(text=one) for one in true)])
    wrong = [distance(a, b) for a, b in zip(true, read, strict=True)]
    assert [len(edits(a, b)) for a, b in zip(true, read, strict=True)] == wrong
    assert found.character_error == pytest.approx(sum(wrong) / sum(map(len, true)), abs=EXACT)
    assert found.exact == pytest.approx(np.mean([a == b for a, b in zip(true, read, strict=True)]), abs=EXACT)


def test_texts_by_hand() -> None:
    truth = [Annotation(text="AB12"), None, Annotation(), Annotation(text="XY")]
    found = text_accuracy(["A81", "Q", "Q", "XY"], truth)
    assert (found.character_error, found.exact, found.images) == (2 / 6, 0.5, 2)


def test_numbers_against_a_replica() -> None:
    rng = np.random.default_rng(2)
    found, true = rng.normal(size=(2, 30, 3))
    error = number_error([*found], [Annotation(numbers=tuple(row)) for row in true.tolist()])
    total = 0.0
    for a, b in zip(found, true, strict=True):
        total += sum(abs(x - y) for x, y in zip(a, b, strict=True)) / 3
    assert error.mean == pytest.approx(total / 30, abs=EXACT)
    assert error.by_number[1] == pytest.approx(np.mean(np.abs(found[:, 1] - true[:, 1])), abs=EXACT)


def person(rng: np.random.Generator) -> Object:
    points = rng.uniform(10, 90, (17, 2))
    seen = rng.integers(0, 3, 17)
    seen[0] = 2
    known = tuple((float(x), float(y), int(v)) for (x, y), v in zip(points, seen, strict=True))
    return Object("person", (5.0, 5.0, 95.0, 95.0), keypoints=known, area=float(rng.uniform(500, 5000)))


def test_keypoint_similarity_is_that_of_pycocotools() -> None:
    pytest.importorskip("pycocotools", reason="the extra onnxcam[truth] is not installed")
    from pycocotools.cocoeval import COCOeval, Params

    rng = np.random.default_rng(3)
    for _ in range(20):
        true = person(rng)
        points = np.array(true.keypoints)[:, :2] + rng.normal(0, 5, (17, 2))
        run = COCOeval(iouType="keypoints")
        run.params = Params("keypoints")
        known = np.array(true.keypoints).reshape(-1).tolist()
        detected = np.column_stack([points, np.ones(17)]).reshape(-1).tolist()
        run._gts[1, 1] = [{"keypoints": known, "area": true.area, "bbox": [5, 5, 90, 90]}]
        run._dts[1, 1] = [{"keypoints": detected, "score": 1}]
        assert keypoint_similarity(points, true) == pytest.approx(float(run.computeOks(1, 1)[0, 0]), abs=EXACT)


def test_keypoints_by_hand() -> None:
    box = (0.0, 0.0, 30.0, 40.0)  # a diagonal of 50
    true = Object(None, box, keypoints=((10, 10, 2), (20, 20, 1), (0, 0, 0)))
    far = Object(None, box, keypoints=((300, 300, 2), (300, 300, 2), (0, 0, 0)))
    points = np.array([[10, 15], [20, 20], [77, 77]])
    found = keypoint_accuracy([points, points], [Annotation((far, true)), Annotation()], [(60, 60)] * 2)
    assert found.distance == pytest.approx(0.05)  # the first one by 5 of 50, the second by 0, the third has no label
    assert found.by_keypoint == {0: pytest.approx(0.1), 1: 0}
    assert (found.similarity, found.images) == (None, 1)
    lost = keypoint_accuracy([np.full((3, 2), np.nan)], [Annotation((true,))], [(60, 60)])
    assert lost.distance == 1


def test_a_missing_keypoint_has_no_similarity() -> None:
    true = person(np.random.default_rng(4))
    points = np.array(true.keypoints)[:, :2]
    assert keypoint_accuracy([points], [Annotation((true,))], [(99, 99)]).similarity == pytest.approx(1)
    assert keypoint_similarity(np.full((17, 2), np.nan), true) == 0
    assert len(SIGMAS) == 17


def test_recall_at_one_against_a_replica() -> None:
    rng = np.random.default_rng(5)
    vectors, names = rng.normal(size=(60, 8)), [str(one) for one in rng.integers(0, 6, 60)]
    right = []
    for i, own in enumerate(vectors):
        cosines = [
            -2.0 if i == j else float(own @ other / np.linalg.norm(own) / np.linalg.norm(other))
            for j, other in enumerate(vectors)
        ]
        if names.count(names[i]) > 1:
            right.append(names[int(np.argmax(cosines))] == names[i])
    found = recall_at_one(vectors, [Annotation(classes=(name,)) for name in names])
    assert found.recall == pytest.approx(np.mean(right), abs=EXACT)
    assert found.images == len(right) == sum(found.counts.values())


def test_images_of_a_class_of_their_own_do_not_count() -> None:
    one, two = Annotation(classes=("ann",)), Annotation(classes=("bob",))
    found = recall_at_one([[1, 0], [0.9, 0.1], [0, 1], [1, 0]], [one, one, two, None])
    assert (found.recall, found.by_class, found.images) == (1, {"ann": 1.0}, 2)


def test_iou_of_objects_with_polygons_and_background() -> None:
    left, size = np.zeros((4, 4), bool), (4, 4)
    left[:, :2] = True
    truth = Annotation((Object("cat", mask=lambda: left),))
    predicted = np.zeros(size, int)
    predicted[:, 0] = 1
    found = mean_iou([predicted], [truth], 2, ["background", "cat"], background=0)
    assert found.by_class == {0: pytest.approx(8 / 12), 1: 0.5}
    assert found.counts == {0: 1, 1: 1}
    assert (found.by_size, found.sizes) == ({"small": 0.5}, {"small": 1})  # the background is no region
    unlabelled = mean_iou([predicted], [truth], 2, ["dog", "cat"])  # the model has no background
    assert unlabelled.by_class == {0: 0, 1: 0.5}


def test_iou_of_a_model_that_may_say_none() -> None:
    truth = Annotation((Object("cat", (0.0, 0.0, 2.0, 4.0)),))
    predicted = np.full((4, 4), -1)
    predicted[:, 1:3] = 0
    assert mean_iou([predicted], [truth], 1, ["cat"]).mean == pytest.approx(4 / 12)


def test_iou_of_independent_classes_counts_overlaps() -> None:
    rng = np.random.default_rng(6)
    masks, predicted = rng.random((3, 9, 7)) > 0.5, rng.random((3, 9, 7)) > 0.5
    objects = tuple(Object(index, mask=lambda index=index: masks[index]) for index in range(3))
    found = mean_iou([predicted], [Annotation(objects)], 3)
    for one in range(3):
        union = (masks[one] | predicted[one]).sum()
        assert found.by_class[one] == pytest.approx((masks[one] & predicted[one]).sum() / union, abs=EXACT)


def test_pixels_that_the_model_does_not_see_do_not_count() -> None:
    seen = np.zeros((2, 4), bool)
    seen[:, :2] = True
    truth = Annotation(mask=np.array([[0, 1, 1, 1]] * 2))
    found = mean_iou([np.array([[0, 1, 0, 0]] * 2)], [truth], 2, seen=[seen])
    assert found.mean == 1


@pytest.mark.parametrize(
    ("error", "message", "run"),
    [
        (TruthError, "the truth has no text of any image", lambda: text_accuracy(["A"], [Annotation()])),
        (TruthError, "the truth has no numbers of any image", lambda: number_error([[1.0]], [None])),
        (TruthError, "the truth has 2 numbers of an image, the model puts out 1",
         lambda: number_error([[1.0]], [Annotation(numbers=(1.0, 2.0))])),
        (TruthError, "the truth has no keypoints in any image",
         lambda: keypoint_accuracy([np.zeros((1, 2))], [Annotation()], [(9, 9)])),
        (TruthError, "the truth has 1 keypoints of an object, the model 2",
         lambda: keypoint_accuracy([np.zeros((2, 2))], [ALONE], [(9, 9)])),
        (TruthError, "no two images have one class by the truth",
         lambda: recall_at_one([[1.0], [1.0]], [Annotation(classes=("a",)), Annotation(classes=("b",))])),
        (MetricError, "1 predictions for 2 images", lambda: recall_at_one([[1.0]], [None, None])),
    ],
)  # fmt: skip
def test_what_does_not_fit(error: type[Exception], message: str, run: Callable[[], object]) -> None:
    with pytest.raises(error, match=re.escape(message)):
        run()
