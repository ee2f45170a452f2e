"""evaluate in shards: the merged result is that of one run, and a set that is not one run's is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.errors import ImageError, MetricError, OnnxcamError, OutputError
from onnxcam.metrics import Evaluation, evaluate
from onnxcam.metrics.base import Curve
from onnxcam.metrics.evaluate_shard import evaluate_shard
from onnxcam.metrics.measurements import EvaluationJournal, ImageMeasurements, assembled
from onnxcam.metrics.merge import merge_evaluations
from onnxcam.metrics.results import Measurement
from tests.command import Ran
from tests.compare.twins import PICTURES, SHAPES, TRUTH, noisy, photos
from tests.networks import hand_model

COUNT = 3
ROOT = Path(__file__).parents[2]
OPTIONS: Mapping[str, Any] = {
    "methods": ["gradcam", "occlusion"],
    "metrics": ["deletion", "infidelity", "sparseness"],
    "settings": {
        "infidelity.samples": 8,
        "deletion.steps": 6,
        "occlusion.patch": 0.3,
        "occlusion.stride": 0.3,
    },
    "baselines": True,
    "batch_size": 2,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images, two of which cannot be read."""
    folder = photos(tmp_path_factory.mktemp("shards") / "photos", 12)
    for name in ("00003a.png", "00009a.png"):
        (folder / name).write_bytes(b"no image")
    return sorted(folder.iterdir())


def shards_of(model: Any, images: Sequence[Path], place: Path, **options: Any) -> list[Path]:
    folders = [place / f"shard{index}" for index in range(COUNT)]
    for index, one in enumerate(folders):
        evaluate_shard(model, images, one, f"{index}/{COUNT}", **options)
    return folders


@pytest.fixture(scope="module")
def done(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return shards_of(SHAPES, images, tmp_path_factory.mktemp("done"), **OPTIONS)


def assert_equal(one: Evaluation, other: Evaluation, place: Path) -> None:
    assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())
    first, second = (
        {path.name: path.read_bytes() for path in found.save(place / name) if path.suffix != ".pdf"}
        for name, found in (("one", one), ("other", other))
    )
    assert first == second


def test_three_metrics_in_shards(images: list[Path], done: list[Path], tmp_path: Path) -> None:
    whole = evaluate(SHAPES, images, **OPTIONS)
    assert len(whole.rows) == 12 * 4
    assert len(whole.unreadable) == 2
    assert_equal(merge_evaluations(done[::-1]), whole, tmp_path)


def test_classes_of_the_truth_in_shards(tmp_path: Path) -> None:
    """Each image has several classes, and the truth is not needed for the merge."""
    truth = Path(shutil.copy(TRUTH, tmp_path / "truth.json"))
    options = {
        **OPTIONS,
        "metrics": ["pointing-game", "box-iou", "infidelity"],
        "truth": truth,
        "batch_size": 1,
        "settings": {key: value for key, value in OPTIONS["settings"].items() if key != "deletion.steps"},
    }
    whole = evaluate(SHAPES, PICTURES, **options)
    folders = shards_of(SHAPES, PICTURES, tmp_path, **options)
    truth.unlink()
    assert_equal(merge_evaluations(folders), whole, tmp_path)


def test_the_same_images_in_another_folder_for_each_shard(images: list[Path], tmp_path: Path) -> None:
    options: Any = {"metrics": ["sparseness"], "batch_size": 2}
    whole = evaluate(SHAPES, images, **options)
    folders = [tmp_path / f"shard{index}" for index in range(COUNT)]
    for index, folder in enumerate(folders):
        there = Path(shutil.copytree(images[0].parent, tmp_path / f"data{index}")) if index else images[0].parent
        own = [there / one.name for one in images]
        model = shutil.copy(SHAPES, there / "model.onnx") if index else SHAPES
        evaluate_shard(model, own, folder, f"{index}/{COUNT}", **options)
    assert_equal(merge_evaluations(folders), whole, tmp_path)


def test_blank_maps_are_counted_over_all_shards(images: list[Path], tmp_path: Path) -> None:
    model, options = hand_model(), {"metrics": ["sparseness"], "target": 1, "batch_size": 1, "preprocess": "raw"}
    whole = evaluate(model, images, **options)
    folders = shards_of(model, images, tmp_path, **options)
    assert_equal(merge_evaluations(folders), whole, tmp_path)


def test_the_seed_is_that_of_the_image_and_not_of_what_precedes_it(images: list[Path], tmp_path: Path) -> None:
    """An image that cannot be read does not change the values of those behind it."""
    options = {"metrics": ["infidelity"], "settings": {"infidelity.samples": 8}}
    first = evaluate(SHAPES, images[5:8], **options)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    second = evaluate(SHAPES, [broken, *images[6:8]], **options)
    values = [[row.values["infidelity"] for row in found.rows] for found in (first, second)]
    assert values[0][1:] == pytest.approx(values[1], rel=1e-4)


def test_a_shard_without_images_is_complete(images: list[Path], tmp_path: Path) -> None:
    folders = shards_of(SHAPES, images[:1], tmp_path / "one", metrics=["sparseness"])
    assert len(merge_evaluations(folders).rows) == 1
    folders = shards_of(SHAPES, [images[4]], tmp_path / "none", metrics=["sparseness"])
    with pytest.raises(ImageError, match="none of the 1 images can be measured; the first: "):
        merge_evaluations(folders)


def test_a_complete_shard_is_not_measured_again(images: list[Path], done: list[Path]) -> None:
    before = (done[1] / "journal.jsonl").read_bytes()
    evaluate_shard(SHAPES, images, done[1], "1/3", **OPTIONS)
    assert (done[1] / "journal.jsonl").read_bytes() == before


def test_values_that_are_not_finite_survive(tmp_path: Path) -> None:
    curve = Curve(np.array([0.0, 1.0]), np.nan, np.array([np.inf, 0.25]))
    row = Measurement("a.png", 1, None, "gradcam", {"a": np.inf, "b": -np.inf, "c": 0.1})
    journal = EvaluationJournal(tmp_path / "journal.jsonl", {})
    journal.add(0, ImageMeasurements("a.png", [row], [{"deletion": curve}], 1))
    (read,) = journal
    assert read.rows == [row]
    found = read.curves[0]["deletion"]
    assert np.isnan(found.value)
    assert found.accuracy is None
    np.testing.assert_array_equal(found.probability, curve.probability)


def _without(own: list[Path], *_: Any) -> list[Path]:
    return own[1:]


def _twice(own: list[Path], *_: Any) -> list[Path]:
    return [*own, own[1]]


def _other(options: Mapping[str, Any]) -> Callable[..., list[Path]]:
    def make(own: list[Path], images: list[Path], place: Path) -> list[Path]:
        given = {**OPTIONS, **options}
        model = noisy(place / "other.onnx", 0.1) if given.pop("model", None) else SHAPES
        evaluate_shard(model, images, own[2], "2/3", overwrite=True, **given)
        return own

    return make


def _lost_line(own: list[Path], *_: Any) -> list[Path]:
    lines = (own[1] / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (own[1] / "journal.jsonl").write_bytes(b"".join(lines[:-1]))
    return own


def _of_validation(own: list[Path], images: list[Path], place: Path) -> list[Path]:
    from onnxcam.compare.validate_shard import validate_shard

    validate_shard(SHAPES, SHAPES, images, place / "validation", "2/3")
    return [*own[:2], place / "validation"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, "shard 0/3 is missing; run it, and name its folder too"),
        (_twice, "shard 1/3 is there twice, in '.*shard1' and in '.*shard1'; name each shard once"),
        (_lost_line, r"1 of 56 entries are missing, the first is that of image \d+; run the shards again"),
        (_of_validation, "validation' holds a shard of another kind, validation; merge those of one evaluation"),
        (_other({"model": True}), r"\(other model sha256\); merge the shards of one run"),
        (_other({"methods": ["gradcam", "eigencam"], "settings": {}}), r"\(other .*methods.*\); merge the shards of"),
        (_other({"preprocess": "raw"}), r"\(other .*preprocess.*\); merge the shards of one run"),
        (_other({"metrics": ["sparseness"], "settings": {}}), r"\(other .*metrics.*\); merge the shards of one run"),
        (_other({"seed": 1}), r"\(other seed\); merge the shards of one run"),
    ],
)
def test_what_is_no_whole_run_is_refused(
    change: Callable[..., list[Path]], message: str, done: list[Path], images: list[Path], tmp_path: Path
) -> None:
    own = [Path(shutil.copytree(one, tmp_path / one.name)) for one in done]
    with pytest.raises(OutputError, match=message):
        merge_evaluations(change(own, images, tmp_path))


def test_a_folder_belongs_to_one_shard(done: list[Path], images: list[Path]) -> None:
    with pytest.raises(OutputError, match="is the journal of another evaluation: shard was '1/3' and is '0/3'; choose"):
        evaluate_shard(SHAPES, images, done[1], "0/3", **OPTIONS)


@pytest.mark.parametrize("metrics", [["sanity"], ["all"], ["sparseness", "sanity-target"]])
def test_sanity_checks_cannot_be_split(metrics: list[str], images: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="compares the maps of all images at once and cannot be split; leave it out"):
        evaluate_shard(SHAPES, images, tmp_path / "out", "0/3", metrics=metrics)
    assert not (tmp_path / "out").exists()


def test_what_is_no_shard(images: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OnnxcamError, match="is no shard; it is i/n, i from 0 to n-1, such as 0/8"):
        evaluate_shard(SHAPES, images, tmp_path / "out", "3/3")


def test_nothing_is_measured_of_nothing() -> None:
    empty = Evaluation(None, "", None, 1, 0, {}, {}, [])
    assert assembled(empty, []).rows == []


def test_the_command(images: list[Path], tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    words = ("evaluate", SHAPES, images[0].parent, "--metric", "sparseness", "--batch-size", "2", "--shard", "1/3")
    ran = onnxcam(*words, "-o", tmp_path / "out")
    assert ran.code == 0
    assert "shard 1/3 is complete; `onnxcam merge` joins all shards" in ran.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["journal.jsonl", "shard.json"]
    found = json.loads(onnxcam(*words, "-o", tmp_path / "out", "--json").out)
    assert found["shard"] == "1/3"
    assert found["pictures"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_killed_shard_resumes(images: list[Path], done: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "killed"
    code = (
        "import json, sys, time; from pathlib import Path; from onnxcam.metrics import measurements\n"
        "from onnxcam.metrics.evaluate_shard import evaluate_shard\n"
        "add = measurements.EvaluationJournal.add\n"
        "measurements.EvaluationJournal.add = lambda *given: (add(*given), time.sleep(60))\n"
        "evaluate_shard(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], '1/3', **json.loads(sys.argv[4]))\n"
    )
    words = [str(SHAPES), json.dumps([str(path) for path in images]), str(out), json.dumps(OPTIONS)]
    process = subprocess.Popen([sys.executable, "-c", code, *words], env={**os.environ, "PYTHONPATH": str(ROOT)})
    until, journal = time.monotonic() + 120, out / "journal.jsonl"
    while time.monotonic() < until and (not journal.exists() or journal.read_bytes().count(b"\n") < 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    folders = [done[0], out, done[2]]
    with pytest.raises(OutputError, match="holds a shard that is not complete"):
        merge_evaluations(folders)
    evaluate_shard(SHAPES, images, out, "1/3", **OPTIONS)
    assert_equal(merge_evaluations(folders), merge_evaluations(done), tmp_path)
