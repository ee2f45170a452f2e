"""Comparison of detectors: which objects are the same, and what is said of those that are lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.world import sample
from onnxcam.bake.dequantise import dequantise
from onnxcam.compare.observer import Observer
from onnxcam.compare.tasks.detection import DetectionPrediction, matched
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError, TargetError
from onnxcam.graph.io import save
from onnxcam.media import image
from onnxcam.metrics.accuracy_detections import mean_average_precision
from onnxcam.metrics.truth import Truth
from onnxcam.targets.detectors.boxes import overlaps
from tests.command import Ran
from tests.compare.twins import photos, quantize, spoilt
from tests.runtime import new_runtime

DETECTOR = Path(__file__).parents[3] / "models" / "detector.onnx"


def found(*objects: tuple[Sequence[float], float, int]) -> DetectionPrediction:
    """The objects (box, score, class), the best first."""
    boxes, scores, classes = zip(*objects, strict=True) if objects else ((), (), ())
    return DetectionPrediction(
        np.array(boxes, float).reshape(-1, 4), np.array(scores, float), np.array(classes, np.int64)
    )


def test_overlaps_by_hand() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [np.nan] * 4])
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(overlaps(boxes[:, None], boxes[None]), expected)


def test_the_same_objects_are_found_one_to_one() -> None:
    own = found(([0, 0, 10, 10], 0.9, 0), ([20, 0, 30, 10], 0.8, 1), ([0, 20, 10, 30], 0.7, 2))
    other = found(
        ([1, 0, 11, 10], 0.9, 0), ([0, 0, 10, 10], 0.5, 0), ([20, 0, 30, 10], 0.8, 2), ([0, 20, 9, 30], 0.1, 2)
    )
    assert matched(own, other) == [(0, 1)]
    agreement = own.compare(other)
    assert agreement.values["kept"] == pytest.approx(1 / 3)
    assert agreement.values["flipped"] == pytest.approx(1 / 3)  # the second, as class 2
    assert agreement.values["extra"] == pytest.approx(1 / 3)  # one of the two boxes of the first
    assert agreement.values["box_iou"] == 1
    assert agreement.values["score_change"] == pytest.approx(0.4)
    assert agreement.details["scores"] == [(0.9, 0.9), (0.8, 0.0), (0.7, 0.1)]  # whatever the threshold


def test_a_detector_agrees_with_itself_and_nothing_with_nothing() -> None:
    own = found(([0, 0, 10, 10], 0.9, 0))
    assert own.compare(own).values == {"kept": 1, "extra": 0, "flipped": 0, "box_iou": 1, "score_change": 0}
    blank = found().compare(found())
    assert all(np.isnan(value) for value in blank.values.values())
    assert blank.notes == ["neither model finds an object"]
    lost = own.compare(found())
    assert lost.values["kept"] == 0
    assert np.isnan(lost.values["extra"])


def test_objects_without_a_place_match_by_class() -> None:
    own, other = found(([np.nan] * 4, 0.9, 3)), found(([np.nan] * 4, 0.6, 3))
    assert matched(own, other) == [(0, 0)]
    assert matched(own, found(([np.nan] * 4, 0.6, 1))) == []


def test_what_is_found_in_words() -> None:
    answer = found(([0, 0, 1, 1], 0.9, 0), ([2, 2, 3, 3], 0.8, 0), ([4, 4, 5, 5], 0.3, 7)).answer(["cat"])
    assert answer.words == "2 cat, 1 class 7"
    assert answer.data["objects"][0] == {"index": 0, "label": "cat", "score": 0.9, "box": [0, 0, 1, 1]}
    assert found().answer(None).words == "no object"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"), 8)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A good int8 twin: its convolutions are quantised, the head that joins boxes and scores is not."""
    made = tmp_path_factory.mktemp("int8") / "int8.onnx"
    return quantize(DETECTOR, made, folder, op_types_to_quantize=["Conv"])


def test_a_good_int8_detector_passes(int8: Path, folder: Path) -> None:
    validation = validate(DETECTOR, int8, folder)
    assert validation.passed, validation.verdicts
    assert validation.as_dict()["task"] == "detection"
    first = next(one for row in validation.rows() for one in row["objects"] if "iou" in one["values"])
    assert first["values"]["iou"] > 0.5
    assert np.abs(np.subtract(first["boxes"]["reference"], first["boxes"]["candidate"])).max() < 20


def test_a_spoilt_scale_fails(int8: Path, folder: Path, tmp_path: Path) -> None:
    validation = validate(DETECTOR, spoilt(int8, tmp_path / "spoilt.onnx", 6), folder)
    assert validation.verdict == "failed"
    assert validation.summaries["kept"].mean < 0.9


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([(0.9, 0.9), (0.8, 0.7)], None),
        ([(0.9, 0.02), (0.8, 0.01)], "scores of all 2 objects of the reference are near zero, at most 0.02 (the refer"),
        (
            [(0.9, 0.4)] * 5 + [(0.8, 0.2)] * 5,
            "0.55 lower on average: a threshold of 0.20 would keep 90% of them",
        ),
        ([(0.9, 0.8)] * 5 + [(0.8, 0.0)] * 5, "no threshold keeps 90% of them: it lost them, not their scores alone"),
    ],
)
def test_what_became_of_the_scores(scores: list[tuple[float, float]], words: str | None) -> None:
    found = DetectionPrediction.conclude([SimpleNamespace(details={"scores": scores})], None)  # type: ignore[list-item]
    assert (found == []) if words is None else (words in found[0])


def test_boxes_and_scores_of_one_scale_are_named(folder: Path, tmp_path: Path) -> None:
    """Quantised as a whole, the output that joins pixels and probabilities has one scale for both."""
    whole = quantize(DETECTOR, tmp_path / "whole.onnx", folder)
    validation = validate(DETECTOR, whole, folder)
    assert validation.verdict == "failed"
    assert any("boxes and scores, joined in one tensor, by one scale" in warning for warning in validation.warnings)


def test_no_object_in_any_image(tmp_path: Path) -> None:
    image.write(tmp_path / "grey.png", np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(MetricError, match="the reference finds no object in any of the 1 images from a prob"):
        validate(DETECTOR, DETECTOR, tmp_path / "grey.png")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "circel"}, TargetError, "no class is named 'circel'. Did you mean 'circle'"),
        ({"target": 6}, TargetError, "class 6 is out of range: the model has 6 classes, 0 to 5"),
        ({"require": "miou>=0.5"}, MetricError, r"'miou >= 0.5' cannot be measured for detection; what can: kept, ex"),
        ({"require": "map50_lost<=0.02"}, MetricError, r"'map50_lost <= 0.02' needs ground truth; give --truth"),
        ({"require": "top1>=0.9"}, MetricError, r"'top1 >= 0.9' cannot be measured for detection; what can: kept, ex"),
        ({"layers": True}, MetricError, "--layers is for classifiers; .* is a detector: `onnxcam validate` compares"),
    ],
)
def test_what_is_refused(options: dict[str, object], error: type, message: str, folder: Path) -> None:
    with pytest.raises(error, match=message):
        validate(DETECTOR, DETECTOR, folder, **options)  # type: ignore[arg-type]


@new_runtime
def test_a_real_detector_against_its_float_twin(real: Path, tmp_path: Path) -> None:
    int8 = real / "models" / "ssd_mobilenet_v1_coco_qdq_nms.onnx"
    save(dequantise(int8), tmp_path / "float.onnx")
    pictures, reference = [real / "images" / "dog_cat.png"], Observer(tmp_path / "float.onnx")
    good = validate(reference, int8, pictures)
    assert good.passed, good.verdicts
    bad = validate(reference, spoilt(int8, tmp_path / "spoilt.onnx", 20), pictures)
    assert bad.verdict == "failed"


def test_accuracy_by_the_truth(int8: Path, tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    """mAP of both models, as `mean_average_precision` gives it for the same predictions."""
    pytest.importorskip("pycocotools", reason="no pycocotools: pip install 'onnxcam[truth]'")
    rng, entries, photos_ = np.random.default_rng(0), [], []
    for number in range(6):
        scene = sample(rng, 96)
        photos_.append(tmp_path / f"{number}.png")
        image.write(photos_[-1], scene.image)
        for one in scene.objects:
            x1, y1, x2, y2 = one.box
            entries.append(f"{number}.png,{one.label},{x1},{y1},{x2},{y2}")
    truth = tmp_path / "truth.csv"
    truth.write_text("image,class,x1,y1,x2,y2\n" + "\n".join(entries) + "\n", "utf-8")
    required = ("-r", "map50_lost<=0.5, map50_95>=0.3, kept>=0.5")
    done = onnxcam("validate", DETECTOR, int8, *photos_, "--truth", truth, *required, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    data = json.loads(done.out)
    first, second = data["accuracy"]["reference"], data["accuracy"]["candidate"]
    assert first["map50"] > 0.9
    assert abs(first["map50_95"] - second["map50_95"]) < 0.1
    lost = {one["metric"]: one["value"] for one in data["requirements"]}["map50_lost"]
    assert lost == pytest.approx(first["map50"] - second["map50"])
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Accuracy by the ground truth" in page
    assert "By class, by the ground truth: mAP at IoU 0.5 to 0.95" in page
    network = Observer(DETECTOR)
    found = [network.outcomes([network.prepare(path)])[0].prediction for path in photos_]
    known = Truth(truth)
    annotations = [known.annotation(path, (96, 96)) for path in photos_]
    predictions = [(one.boxes, one.scores, one.classes) for one in found]  # type: ignore[attr-defined]
    expected = mean_average_precision(predictions, annotations, 6, network.class_names)
    assert first["map50_95"] == pytest.approx(expected.map, abs=1e-3)
    slices = [one for one in data["slices"]["truth"] if one["kind"] == "class"]
    assert {one["name"]: one["objects"] for one in slices} == dict(Counter(line.split(",")[1] for line in entries))
    for one in slices:
        index = list(network.class_names or ()).index(one["name"])
        assert one["reference"] == pytest.approx(expected.by_class[index], abs=1e-3)
        assert one["lost"] == pytest.approx(one["reference"] - one["candidate"])
    sizes = {one["name"]: one["reference"] for one in data["slices"]["truth"] if one["kind"] == "size"}
    assert sizes == pytest.approx(expected.by_size, abs=1e-3)
    agreement = {one["name"]: one["objects"] for one in data["slices"]["agreement"] if one["kind"] == "class"}
    assert sum(agreement.values()) == sum(one.count for one in found)  # type: ignore[attr-defined]


def test_a_missing_library_is_told_before_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    (tmp_path / "truth.csv").write_text("image,class,x1,y1,x2,y2\n00000.png,ring,1,1,9,9\n", "utf-8")
    with pytest.raises(MetricError, match="mAP needs pycocotools, which is not installed; pip install"):
        validate(DETECTOR, DETECTOR, folder, tmp_path / "out", truth=tmp_path / "truth.csv")
    assert not (tmp_path / "out").exists()


def test_one_class_alone(folder: Path, int8: Path, tmp_path: Path) -> None:
    """`target` limits what is compared, what is explained, and the truth."""
    pytest.importorskip("pycocotools", reason="no pycocotools: pip install 'onnxcam[truth]'")
    (tmp_path / "truth.csv").write_text(
        "image,class,x1,y1,x2,y2\n00000.png,ring,1,1,9,9\n00000.png,star,1,1,9,9\n", "utf-8"
    )
    found = validate(DETECTOR, int8, folder, target="ring", truth=tmp_path / "truth.csv")
    rows = [one for row in found.rows() for one in row["objects"]]
    assert rows
    assert {one["index"] for one in rows} == {5}
    assert {one.name for one in found.slices if one.kind == "class"} == {"ring"}
    assert found.truth is not None
    assert [one.name for one in found.truth.slices if one.kind == "class"] == ["ring"]
    image.write(tmp_path / "grey.png", np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(MetricError, match="the reference finds no object of class 'ring' in any of the 1 images"):
        validate(DETECTOR, int8, tmp_path / "grey.png", target="ring")
