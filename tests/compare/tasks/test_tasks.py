"""Every task says what is compared and required, and docs/validate.md says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxcam.compare.agreement import AGREEMENT_METRICS, MAP_METRICS, TRUTH_METRICS, loss_id
from onnxcam.compare.tasks import OBSERVATIONS, observation_of
from onnxcam.compare.tasks.observation import Observation, only_class
from onnxcam.compare.thresholds import parse
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError, ModelError, TargetError
from onnxcam.targets.registry import TASK_TYPES, Task
from onnxcam.targets.tensors import Tensors
from tests.compare.tasks.twins import MODELS, drawn, headed

PAGE = re.sub(r"\s+", " ", (Path(__file__).parents[3] / "docs" / "validate.md").read_text("utf-8"))


@pytest.fixture(params=OBSERVATIONS, ids=lambda one: type(one).__name__)
def each(request: pytest.FixtureRequest) -> Observation:
    return request.param


def test_the_metrics_are_known(each: Observation) -> None:
    assert set(each.prediction.metrics) <= set(AGREEMENT_METRICS)


def test_the_default_requirements_can_be_measured(each: Observation) -> None:
    required = {one.metric for one in parse(each.prediction.defaults)}
    assert required <= {*each.prediction.metrics, *MAP_METRICS}


def test_the_page_tells_the_default_requirements(each: Observation) -> None:
    assert f"`{each.prediction.defaults}`" in PAGE
    assert f"| {', '.join(f'`{name}`' for name in each.prediction.metrics)} |" in PAGE


def test_every_metric_belongs_to_a_task() -> None:
    of_tasks = {name for one in OBSERVATIONS for name in one.prediction.metrics}
    of_truth = {name for one in OBSERVATIONS for name in one.prediction.truth_metrics}
    losses = {loss_id(name, AGREEMENT_METRICS[name].better) for name in of_truth}
    assert set(AGREEMENT_METRICS) == {*of_tasks, *MAP_METRICS, *of_truth, *losses}
    assert {*of_truth, *losses} == set(TRUTH_METRICS)


def test_one_class_by_name_or_index() -> None:
    assert only_class("top", 3, None) is None
    assert [only_class(one, None, ["cat", "dog"]) for one in ("dog", " dog ", 1, "1", "#1")] == [1] * 5
    assert only_class("77", None, None) == 77  # how many classes there are is not known
    for label in ("dog", -1):
        with pytest.raises(TargetError, match=rf"target {label!r}: the names of the model's classes are not known"):
            only_class(label, None, None)


def test_every_task_of_onnxcam_is_compared() -> None:
    assert all(any(issubclass(task, one.task) for one in OBSERVATIONS) for task in (*TASK_TYPES, Tensors))


def test_a_task_of_the_user_is_not_compared() -> None:
    class Juggling(Task):
        name = "a juggler"

    with pytest.raises(MetricError, match=r"only models of these tasks .*; net.onnx is a juggler"):
        observation_of(Juggling(), "net.onnx")


def test_two_tasks_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=r"read as a model for segmentation and .* as one for embedding"):
        validate(MODELS / "segmenter.onnx", MODELS / "embedder.onnx", drawn(tmp_path / "photos", count=1))


NAN = "n = Sub(y, y) nan = Div(n, n)"
CASES = {
    "regression": ("embedder", "{} = Identity({})", "z[32]"),
    "embedding": ("embedder", "{} = Identity({})", "z[32]"),
    "keypoints": ("segmenter", "{} = Identity({})", "z[7, 64, 64]"),
    "segmentation": ("segmenter", "{} = Identity({})", "z[7, 64, 64]"),
    "depth": ("segmenter", "a = Constant<value_ints=[1]>() {} = ReduceMax({}, a)", "z[1, 64, 64]"),
    "anomaly": ("segmenter", "a = Constant<value_ints=[1]>() {} = ReduceMax({}, a)", "z[1, 64, 64]"),
    "text": ("reader", "{} = Identity({})", "z[32, 37]"),
}


@pytest.mark.parametrize("task", CASES)
def test_a_candidate_that_puts_out_nan(task: str, tmp_path: Path) -> None:
    name, nodes, output = CASES[task]
    photos = drawn(tmp_path / "photos", count=2)
    reference = headed(name, tmp_path / "float.onnx", task, nodes.format("z", "y"), output)
    candidate = headed(name, tmp_path / "nan.onnx", task, NAN + nodes.format("z", "nan"), output)
    if task == "segmentation":  # no class of the reference is there, so nothing is explained
        assert validate(reference, candidate, photos).verdict == "failed"
        return
    with pytest.raises(ModelError, match=r"the candidate '.*nan.onnx': .* NaN or infinite"):
        validate(reference, candidate, photos)
