"""Evaluations: what is measured on which images and classes, alike in batches and by seed, and every message."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import ImageError, MethodError, MetricError, OnnxcamError, TargetError, TruthError
from onnxcam.media import heatmap, image
from onnxcam.metrics import CHECKS, METRICS, Evaluation, Truth, evaluate, faithfulness, localisation
from onnxcam.metrics.base import ClassPredictor
from onnxcam.metrics.lookup import DEFAULT, GROUPS, all_metrics
from tests.networks import HAND_X, hand_model

ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURES = ASSETS / "shapes.onnx", [ASSETS / "shapes_1.png", ASSETS / "shapes_2.png"]
TRUTH = ASSETS / "shapes_truth.json"
CLASSES = {"shapes_1.png": ["cross", "star", "ring", "circle"], "shapes_2.png": ["triangle", "circle", "ring"]}
QUICK = {"insertion.steps": 8, "deletion.steps": 8, "road-morf.steps": 2, "road-lerf.steps": 2}


def by_case(found: Evaluation) -> dict[tuple[str, str | None, str], dict[str, float]]:
    return {(Path(row.image).name, row.label, row.method): row.values for row in found.rows}


@pytest.fixture(scope="module")
def everything() -> Evaluation:
    """Everything of two methods and the baselines, on every class that the truth names."""
    small = {"infidelity.samples": 8, "max-sensitivity.samples": 2, "occlusion.patch": 0.3, "occlusion.stride": 0.3}
    small |= {"sanity-cascading.stages": 2, "sanity-independent.stages": 2}
    return evaluate(
        SHAPES,
        PICTURES,
        methods=["gradcam", "occlusion"],
        metrics=["all"],
        truth=TRUTH,
        baselines=True,
        settings={**QUICK, **small},
        batch_size=5,
    )


def test_every_class_of_the_truth_is_explained(everything: Evaluation) -> None:
    assert everything.methods == ["gradcam", "occlusion", "random", "centre"]
    for method in everything.methods:
        cases = [(Path(row.image).name, row.label) for row in everything.of(method)]
        assert cases == [(name, label) for name, labels in CLASSES.items() for label in labels]
    for values in by_case(everything).values():
        assert set(values) == {*METRICS, *CHECKS}
        assert np.isfinite(list(values.values())).all()


def test_this_network_s_maps_lie_on_the_objects(everything: Evaluation) -> None:
    """It was trained so that its evidence does (models/README.md); chance and the centre do not come near."""
    mean = {(row.metric, row.method): row.mean for row in everything.summary()}
    assert mean["pointing-game", "gradcam"] == 1
    assert mean["energy-pointing", "gradcam"] > 0.8 > 4 * mean["energy-pointing", "centre"]
    assert mean["box-error", "gradcam"] == 0
    for base in ("random", "centre"):
        for metric, better in everything.better.items():
            if metric in ("insertion", "deletion", "road-morf", "road-lerf", "box-iou", "sparseness"):
                assert (mean[metric, "gradcam"] > mean[metric, base]) == (better == "higher"), (metric, base)


def test_values_are_those_of_the_functions(everything: Evaluation) -> None:
    """By hand, from the explanation that `Explainer` gives."""
    explainer, entry = Explainer(SHAPES), json.loads(TRUTH.read_text())["shapes_1.png"][1]
    explanation = explainer(PICTURES[0], "star")
    values = by_case(everything)["shapes_1.png", "star", "gradcam"]
    region = Truth(TRUTH).regions(PICTURES[0], explanation.image.shape[:2])["star"]
    x1, y1, x2, y2 = entry["box"]
    assert region.mask.sum() == (x2 - x1) * (y2 - y1)
    assert values["energy-pointing"] == pytest.approx(localisation.energy_pointing(explanation.map, region.mask))
    assert values["box-iou"] == pytest.approx(localisation.box_iou(explanation.map, [entry["box"]]))
    x = explainer.preprocessing(explanation.image)
    frame = heatmap.Frame(0, 0, *x.shape[2:])  # the tensor is the whole of itself
    weight = heatmap.normalize(heatmap.enlarge(explanation.raw, frame, x.shape[2:]))
    p, o = (float(explainer.probabilities(tensor, "star")[0]) for tensor in (x, (x * weight).astype(np.float32)))
    assert p == pytest.approx(explanation.probability)
    assert values["average-drop"] == pytest.approx(faithfulness.average_drop(p, o), abs=1e-5)


def test_one_picture_alone_has_no_interval() -> None:
    found = evaluate(SHAPES, PICTURES[:1], metrics=["sparseness"])
    (row,) = found.summary()
    assert (row.low, row.high, row.cases, row.pictures) == (None, None, 1, 1)


def test_batches_change_nothing_and_the_seed_repeats() -> None:
    def measured(batch_size: int, seed: int) -> dict[Any, dict[str, float]]:
        settings = {**QUICK, "infidelity.samples": 10, "max-sensitivity.samples": 3}
        metrics = ["faithfulness", "road", "robustness"]
        arguments: dict[str, Any] = {"target": "circle", "metrics": metrics, "settings": settings}
        return by_case(evaluate(SHAPES, PICTURES, batch_size=batch_size, seed=seed, **arguments))

    first, second, other = measured(1, 0), measured(7, 0), measured(7, 1)
    for key, values in first.items():
        for metric, value in values.items():
            np.testing.assert_allclose(second[key][metric], value, rtol=1e-4, atol=1e-5, err_msg=metric)
        assert other[key]["infidelity"] != pytest.approx(value, rel=1e-6)


def test_masks_say_as_much_as_boxes(tmp_path: Path) -> None:
    """The masks that the sample images come with, made a label map: the value k of the k-th object, its class."""
    truth = json.loads(TRUTH.read_text())
    explainer = Explainer(SHAPES)
    names = explainer.class_names or []
    import cv2

    for picture in PICTURES:
        objects = image.read(ASSETS / f"{picture.stem}_masks.png")[..., 0]
        classes = np.array([0, *(names.index(entry["label"]) + 1 for entry in truth[picture.name])], np.uint8)
        cv2.imwrite(str(tmp_path / picture.name), classes[objects])
    found = by_case(evaluate(SHAPES, PICTURES, metrics=["localisation"], truth=Truth(tmp_path, "class+1")))
    assert {key[:2] for key in found} == {(name, label) for name, labels in CLASSES.items() for label in labels}
    boxes = by_case(evaluate(SHAPES, PICTURES, metrics=["localisation"], truth=TRUTH))
    for key, values in found.items():
        assert values["pointing-game"] == boxes[key]["pointing-game"] == 1
        assert values["energy-pointing"] <= boxes[key]["energy-pointing"]  # the mask lies within its box
        assert values["box-iou"] == pytest.approx(boxes[key]["box-iou"], abs=0.02)
    unlabelled = evaluate(SHAPES, PICTURES[:1], metrics=["pointing-game"], truth=tmp_path)
    assert len(unlabelled.rows) == 1  # the top class, on any object


def test_nhwc_integers_and_several_sizes(tmp_path: Path) -> None:
    """A network on bytes, channels last, of any size: what it is asked about are bytes too."""
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    g (uint8[n, h, w, 3] x) => (float[n, 2] y)
    <float[2, 3, 1, 1] k = {0.01, 0, 0, 0, 0.01, -0.01}, float[2, 2] v = {1, 0, 0, 1}, float[2] b = {0, 0}>
    { f = Cast<to = 1>(x) t = Transpose<perm = [0, 3, 1, 2]>(f) c = Conv(t, k) a = Relu(c) p = GlobalAveragePool(a)
      q = Flatten(p) y = Gemm<transB = 1>(q, v, b) }
    """)
    rng, paths = np.random.default_rng(0), []
    for number, size in enumerate([(9, 11), (12, 8), (12, 8)]):
        paths.append(tmp_path / f"{number}.png")
        image.write(paths[-1], rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    found = evaluate(
        model,
        paths,
        methods=["gradcam", "gradient"],
        metrics=["all"],
        target=0,
        preprocess="raw,resize=none",
        settings={**QUICK, "infidelity.samples": 5},
    )
    assert len(found.rows) == 6
    assert all(np.isfinite(list(row.values.values())).all() for row in found.rows)


def test_blank_maps_are_told_and_measured(tmp_path: Path) -> None:
    """Class 1 of the small network has only the channel that is dark in a white image."""
    image.write(tmp_path / "white.png", np.full((2, 2, 3), 255, np.uint8))
    found = evaluate(hand_model(), [tmp_path / "white.png"], target=1, preprocess="unit", metrics=["sparseness"])
    assert found.rows[0].values["sparseness"] == 0
    assert any("gradcam: 1 of 1 maps are blank: no positive evidence for the class" in text for text in found.warnings)


def test_what_is_measured_by_default() -> None:
    found = evaluate(SHAPES, PICTURES[:1], settings=QUICK)
    expected = [id for id, thing in all_metrics().items() if thing.group in DEFAULT and not thing.needs_truth]
    assert list(found.better) == expected
    assert {thing.group for thing in all_metrics().values()} == set(GROUPS)


def test_settings_reach_methods_and_metrics() -> None:
    found = evaluate(
        SHAPES,
        PICTURES[:1],
        methods=["rise"],
        metrics=["deletion"],
        settings={"rise.samples": "9", "deletion.steps": "5"},
    )
    assert found.settings["rise"]["samples"] == 9
    assert len(found.curves["deletion"]["rise"][0].share) == 6


def test_progress_counts_every_case() -> None:
    seen: list[tuple[int, int]] = []

    def progress(items: Any, total: int) -> Any:
        things = list(items)
        seen.append((len(things), total))
        return things

    evaluate(SHAPES, PICTURES, truth=TRUTH, metrics=["sparseness", "sanity"], baselines=True, progress=progress)
    assert seen[0] == (21, 21)  # 7 cases of 3 sources
    assert seen[1:] == [(7, 7)] * 6  # stages of two checks of 3 sources


def test_every_metric_tells_its_paper_and_has_an_example() -> None:
    for id, thing in all_metrics().items():
        doc = thing.function.__doc__ or ""
        assert "Example:" in doc, id
        assert any(f"{year:04d}." in doc for year in range(1300, 2700)), id
        assert thing.summary


@pytest.mark.parametrize(
    ("kind", "message", "arguments"),
    [
        (MetricError, "'insertoin'. Did you mean 'insertion' or", {"metrics": ["insertoin"]}),
        (MetricError, "'energy-pointing'? There are pointing-game, energy-p", {"metrics": ["insertoin"]}),
        (MetricError, "box-iou needs ground truth; give --truth", {"metrics": ["box-iou"]}),
        (MetricError, "pointing-game needs ground truth", {"metrics": ["localisation"]}),
        (MethodError, "'gradkam'. Did you mean 'gradcam' or", {"methods": ["gradkam"]}),
        (MethodError, "'gradcam++'? `onnxcam inspect MODEL` lists all", {"methods": ["gradkam"]}),
        (MethodError, "no method to evaluate; `onnxcam inspect MODEL`", {"methods": []}),
        (ImageError, "no image to evaluate on; name some", {"images": []}),
        (ImageError, "none.png: no such file", {"images": [*PICTURES, "none.png"], "strict": True}),
        (MetricError, "the batch size is at least 1, not 0", {"batch_size": 0}),
        (MetricError, "a setting is ID.name=value, such as rise.samples=500", {"settings": {"steps": 3}}),
        (MetricError, "'rise.samples' is a setting of 'rise', which is not evaluated here; there are gradcam, ins",
         {"settings": {"rise.samples": 3}}),
        (MetricError, "deletion has no setting 'step'; there are steps=224. Did you mean 'steps'?",
         {"settings": {"deletion.step": 3}}),
        (MetricError, "the setting steps of deletion is a whole number from 1 to 1000000, not 0",
         {"settings": {"deletion.steps": 0}}),
        (MetricError, "the setting steps of deletion is a whole number from 1 to 1000000, not 2.5",
         {"settings": {"deletion.steps": 2.5}}),
        (MetricError, "the setting noise of road-morf is a number from 0 to 1e+09, not 'loud'",
         {"settings": {"road-morf.noise": "loud"}}),
        (TargetError, "no class is named 'pentagon'", {"target": "pentagon"}),
        (TargetError, "'any:circle,star' is 2 classes (circle, star): classifiers are compared by one class; give an",
         {"target": "any:circle,star"}),
        (TruthError, "shapes_1.png: the truth has no object of class 'triangle', there are cross, star, ring, circle;",
         {"truth": TRUTH, "target": "triangle"}),
        (TruthError, "is the truth of one image, and there are 2; give a folder",
         {"truth": ASSETS / "shapes_1_masks.png"}),
    ],
)  # fmt: skip
def test_messages(kind: type[OnnxcamError], message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(kind) as error:
        evaluate(**{"model": SHAPES, "images": PICTURES, **arguments})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_label_of_the_truth_that_the_model_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({"shapes_1.png": [{"label": "stra", "box": [0, 0, 9, 9]}]}))
    with pytest.raises(TargetError, match=r"no class is named 'stra'. Did you mean 'star'"):
        evaluate(SHAPES, PICTURES[:1], truth=file)


def test_a_class_of_two_names(tmp_path: Path) -> None:
    """A name and the index of the same class: one case, with the objects of both."""
    file = tmp_path / "boxes.json"
    number = (Explainer(SHAPES).class_names or []).index("star")
    boxes = [{"label": number, "box": [0, 0, 9, 9]}, {"label": "star", "box": [30, 33, 118, 125]}]
    for objects in (boxes, boxes[::-1]):
        file.write_text(json.dumps({"shapes_1.png": objects}))
        (row,) = evaluate(SHAPES, PICTURES[:1], truth=file, metrics=["localisation"]).rows
        assert row.values["pointing-game"] == 1
        assert row.values["box-error"] == 0


def test_what_the_network_says() -> None:
    """Logits (0.5, 4.5) of the small network, each image its own class."""
    explainer = Explainer(hand_model())
    x = np.concatenate([HAND_X, HAND_X, HAND_X])
    np.testing.assert_allclose(explainer.scores(x, [0, 1, None]), [0.5, 4.5, 4.5])
    np.testing.assert_array_equal(explainer.classes(x, [0, 1, "top"]), [0, 1, 1])
    np.testing.assert_allclose(explainer.probabilities(x, 0), np.full(3, 1 / (1 + np.exp(4))), rtol=1e-6)
    assert explainer.class_count == 2


def test_a_method_that_does_not_apply_is_known_before_the_first_is_measured() -> None:
    model = hand_model()
    model.graph.node[3].op_type = "Softsign"
    model.graph.node.insert(4, onnx.helper.make_node("Flatten", ["f"], ["g"]))
    model.graph.node[5].input[0] = "g"

    def progress(items: Any, total: int) -> Any:
        raise AssertionError("something was measured")

    with pytest.raises(MethodError, match="cam needs a network that ends in global average pooling"):
        evaluate(model, PICTURES, methods=["gradcam", "cam"], preprocess="unit", progress=progress)


def test_scores_that_are_no_probabilities() -> None:
    model = onnx.parser.parse_model(
        """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, 4, 4] x) => (int32[1, 2] y)
    { p = ReduceMean<axes = [2, 3], keepdims = 0>(x) s = Slice(p, zero, two, axis) y = Cast<to = 6>(s) }
    """.replace("(int32[1, 2] y)", "(int32[1, 2] y) <int64[1] zero = {0}, int64[1] two = {2}, int64[1] axis = {1}>")
    )
    with pytest.raises(MethodError, match="integers of unknown meaning"):
        evaluate(model, PICTURES[:1], methods=["occlusion"], metrics=["average-drop"], preprocess="unit")


def test_json_has_null_for_numbers_that_are_not_finite() -> None:
    found = evaluate(SHAPES, PICTURES, metrics=["deletion"], settings={"deletion.steps": 4})
    found.rows[0].values["deletion"] = float("nan")
    found.curves["deletion"]["gradcam"][0].probability[:] = np.inf
    told = found.to_dict()
    json.dumps(told, allow_nan=False)
    assert told["pictures"][0]["metrics"]["deletion"] is None
    assert told["summary"][0]["mean"] is None
    assert told["curves"]["deletion"]["gradcam"]["probability"] == [None] * 5


def test_two_evaluations_of_the_same_are_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in "ab":
        found = evaluate(SHAPES, PICTURES, methods=["rise"], metrics=["deletion"], settings={"rise.samples": 20})
        files.append([path.read_bytes() for path in found.save(tmp_path / name)])
    assert files[0] == files[1]


def test_maps_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explainer, "attribute", lambda self, x, target: np.full((len(x), 3, 3), np.nan, np.float32))
    with pytest.raises(OnnxcamError, match=r"the map of gradcam for .*shapes_1.png holds NaN or infinity"):
        evaluate(SHAPES, PICTURES[:1], metrics=["sparseness"])


def test_road_asks_for_the_top_class_and_a_group_of_one_class_is_that_class() -> None:
    scores = {}
    for target in ("star", "any:star"):
        found = evaluate(
            SHAPES,
            PICTURES[:1],
            target=target,
            preprocess="unit",
            metrics=["road-morf"],
            settings={"road-morf.steps": 2},
        )
        scores[target] = found.rows[0]
    assert scores["star"] == scores["any:star"]
    dataset_predictor = ClassPredictor(Explainer(SHAPES, "gradcam", target="star"), 3, 0, np.dtype(np.float32))
    x = np.zeros((1, 3, *Explainer(SHAPES).preprocessing(np.zeros((8, 8, 3), np.uint8)).shape[2:]), np.float32)
    top = int(Explainer(SHAPES).classes(x)[0])
    assert dataset_predictor.answers(x)[1][0] == (top == 3)
    assert top != 3
