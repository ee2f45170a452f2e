"""validate: what it finds, that nothing is lost or counted twice, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.compare.observer import Observer
from onnxcam.compare.summary import summarise
from onnxcam.compare.validate import validate
from onnxcam.compare.validation import Validation
from onnxcam.errors import EngineError, ImageError, MetricError, OnnxcamError, OutputError, TargetError
from onnxcam.media import heatmap, image
from onnxcam.metrics.bootstrap import bootstrap_interval
from onnxcam.metrics.truth import Truth
from tests.compare.recordings import room
from tests.compare.twins import PICTURES, SHAPES, TRUTH, noisy, photos
from tests.networks import hand_model

WRITTEN = ["report.html", "junit.xml", "summary.md", "worst.png", "validation.json"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A candidate that is almost the reference, and one that is not."""
    folder = tmp_path_factory.mktemp("models")
    return noisy(folder / "near.onnx", 0.01), noisy(folder / "far.onnx", 0.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"), 12)


def values(found: Validation) -> list[Any]:
    return [(pair.picture, pair.tops, dict(pair.values), pair.notes) for pair in found.journal]


def test_a_network_agrees_with_itself_and_less_with_a_noisy_twin(models: tuple[Path, Path], folder: Path) -> None:
    same, near, far = (validate(SHAPES, other, folder) for other in (SHAPES, *models))
    assert same.passed
    assert near.passed
    assert not far.passed
    for id in ("pearson", "ssim", "iou", "cosine", "strength"):
        assert same.summaries[id].worst == pytest.approx(1, abs=1e-6)
        assert 1 > near.summaries[id].mean > far.summaries[id].mean, id
    assert len(same.journal) == same.summaries["iou"].count == 12
    assert same.reference.sha256 == same.candidate.sha256 != near.candidate.sha256
    assert (near.candidate.kind, near.candidate.method, near.candidate.layer) == ("float32", "gradcam", "layer5.2")


def test_it_explains_what_the_explainer_explains(models: tuple[Path, Path]) -> None:
    """The maps of both sides, of the reference's class, made by the explainer and compared by hand."""
    found = validate(SHAPES, models[1], [PICTURES[0]])
    (pair,) = found.journal
    first = Explainer(SHAPES)(PICTURES[0])
    second = Explainer(models[1])(PICTURES[0], target=first.target)
    assert pair.target == first.target
    assert pair.confidence[0] == pytest.approx(first.probability)
    big = [np.maximum(one.raw, 0) for one in (first, second)]
    assert pair.values["strength"] == pytest.approx(
        min(big[0].sum(), big[1].sum()) / max(big[0].sum(), big[1].sum()), rel=0.1
    )
    ratio = np.corrcoef(
        *(cv2.resize(one.map, (56, 56), interpolation=cv2.INTER_AREA).ravel() for one in (first, second))
    )
    assert pair.values["pearson"] == pytest.approx(ratio[0, 1], abs=0.03)


@pytest.mark.parametrize("method", ["gradient", "layercam", "occlusion"])
def test_other_methods(models: tuple[Path, Path], method: str) -> None:
    found = validate(SHAPES, models[0], [PICTURES[0]], method=method)
    assert found.summaries["pearson"].mean > 0.8
    raw = Observer(SHAPES, method=method)
    (outcome,) = raw.outcomes([raw.prepare(PICTURES[0])])
    assert outcome.map is not None
    assert outcome.map.ndim == 2
    explained = Explainer(SHAPES, method=method)(PICTURES[0])
    assert np.array_equal(outcome.map, heatmap.flat(explained.raw, None if explained.raw.ndim == 2 else 0))


def test_the_target_may_be_named(models: tuple[Path, Path]) -> None:
    labels = Explainer(SHAPES).class_names
    assert labels is not None
    for target in (labels[2], 2, "2"):
        found = validate(SHAPES, models[0], [PICTURES[0]], target=target)
        assert found.journal[0].target == 2
    with pytest.raises(TargetError, match="no class is named 'nothing of the sort'"):
        validate(SHAPES, models[0], [PICTURES[0]], target="nothing of the sort")


def test_truth_gives_energy_and_accuracy(models: tuple[Path, Path]) -> None:
    found = validate(SHAPES, models[0], PICTURES, truth=TRUTH, require="energy>=0.05,accuracy>=0.9")
    assert found.passed
    assert {"energy", "energy_lost", "accuracy", "accuracy_lost"} <= set(found.summaries)
    assert found.summaries["accuracy"].mean == 1


def test_batches_and_threads_change_nothing(models: tuple[Path, Path], folder: Path) -> None:
    one, many = (validate(SHAPES, models[0], folder, batch_size=size, jobs=jobs) for size, jobs in ((1, 1), (5, 3)))
    for (name, tops, own, _), (other, others, theirs, _) in zip(values(one), values(many), strict=True):
        assert (name, tops) == (other, others)
        assert own == pytest.approx(theirs, abs=1e-3)


def test_images_are_folders_patterns_and_lists_each_once(
    models: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    inside = tmp_path / "photos" / "inside"
    shutil.copytree(folder, inside)
    (inside / "notes.md").write_text("no image")
    (tmp_path / "list.txt").write_text("photos/inside/00001.png\n\nphotos/inside/00000.png\n")
    assert image.files([tmp_path / "photos"]) == [str(inside / f"{i:05}.png") for i in range(12)]
    assert image.files([f"{tmp_path}/**/0000[12].png"]) == [str(inside / f"{i:05}.png") for i in (1, 2)]
    for name in (str(tmp_path / "list.txt"), f"@{tmp_path}/list.txt"):
        assert [Path(each).name for each in image.files([name])] == ["00001.png", "00000.png"]
    found = validate(SHAPES, models[0], [inside / "00001.png", str(tmp_path / "list.txt")])
    assert [Path(pair.picture).name for pair in found.journal] == ["00001.png", "00000.png"]
    assert "1 of the 3 images are duplicates; each counts once" in found.warnings


KILLED = """
import sys, time
from onnxcam.compare.validate import validate
def slowly(items, total):
    for item in items:
        time.sleep(0.05)
        yield item
validate(*sys.argv[1:5], batch_size=2, jobs=1, progress=slowly)
"""


@pytest.mark.slow
def test_a_kill_loses_and_doubles_nothing(models: tuple[Path, Path], tmp_path: Path) -> None:
    pictures, out = photos(tmp_path / "photos", 60), tmp_path / "out"
    run = subprocess.Popen([sys.executable, "-c", KILLED, str(SHAPES), str(models[1]), str(pictures), str(out)])
    journal = out / "journal.jsonl"
    until = time.monotonic() + 300
    while time.monotonic() < until and not (journal.exists() and journal.read_bytes().count(b"\n") > 12):
        assert run.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    kept = journal.read_bytes()
    done = kept.count(b"\n") - 1
    assert 12 <= done < 60
    todo = []

    def counting(items: Any, total: int) -> Any:
        todo.append(total)
        return items

    resumed = validate(SHAPES, models[1], pictures, out, batch_size=2, progress=counting)
    assert todo == [60 - done]
    assert journal.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    whole = validate(SHAPES, models[1], pictures, batch_size=2)
    assert [pair.picture for pair in resumed.journal] == [pair.picture for pair in whole.journal]
    for (_, tops, own, _), (_, others, theirs, _) in zip(values(resumed), values(whole), strict=True):
        assert tops == others
        assert own == pytest.approx(theirs, abs=1e-3)
    for id, summary in whole.summaries.items():
        assert resumed.summaries[id].mean == pytest.approx(summary.mean, abs=1e-4)
        assert resumed.summaries[id].count == 60


def test_a_run_that_goes_on_asks_for_the_same_batches(folder: Path, tmp_path: Path) -> None:
    asked: list[list[str]] = []

    class Spied(Observer):
        def outcomes(self, shots: Any, *more: Any) -> Any:
            asked.append([Path(shot.picture).name for shot in shots])
            return super().outcomes(shots, *more)

    shutil.copytree(folder, tmp_path / "photos")
    (tmp_path / "photos" / "00003.png").write_bytes(b"no image")
    whole = validate(Spied(SHAPES), SHAPES, tmp_path / "photos", tmp_path / "out", batch_size=5).as_dict()
    first = asked[:]
    assert [len(batch) for batch in first] == [4, 5, 2]
    journal = tmp_path / "out" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(True)
    journal.write_bytes(b"".join([*lines[:5], lines[5][:-9], b"\n", *lines[6:10]]))
    asked.clear()
    todo: list[int] = []

    def counting(items: Any, total: int) -> Any:
        todo.append(total)
        return items

    found = validate(Spied(SHAPES), SHAPES, tmp_path / "photos", tmp_path / "out", batch_size=5, progress=counting)
    assert asked == first[1:]
    assert todo == [4]
    assert found.damaged == [f"'{journal}': line 6 is damaged; its image is done again"]
    assert found.as_dict() == whole


def test_what_was_asked_differently_is_not_resumed(models: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    validate(SHAPES, models[0], folder, tmp_path)
    with pytest.raises(OutputError, match=r"is the journal of another validation: candidate sha256 was '.*' and is '"):
        validate(SHAPES, models[1], folder, tmp_path)
    with pytest.raises(OutputError, match=r"reference method was 'gradcam' and is 'layercam'; candidate method was"):
        validate(SHAPES, models[0], folder, tmp_path, method="layercam")
    assert not validate(SHAPES, models[1], folder, tmp_path, overwrite=True).passed


def test_a_full_disk_leaves_no_draft(models: tuple[Path, Path], tmp_path: Path) -> None:
    found = validate(SHAPES, models[0], PICTURES)
    with room(20_000), pytest.raises(OutputError, match=r"cannot write into '.*out': File too large; choose another"):
        found.save(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_draft_that_a_kill_left_is_gone_after_the_next_run(models: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in WRITTEN:
        (tmp_path / "out" / f".onnxcam-{name}").write_text("half")
    found = validate(SHAPES, models[0], PICTURES, tmp_path / "out")
    assert {path.name for path in found.save(tmp_path / "out")} == {*WRITTEN}
    assert not [*(tmp_path / "out").glob(".onnxcam-*")]


@pytest.mark.parametrize("output", ["x" * 300, "file/out"])
def test_a_folder_that_cannot_be_made(output: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write into '.*': .*; choose another with -o"):
        validate(SHAPES, SHAPES, PICTURES, tmp_path / output)


def test_a_finished_report_stays(models: tuple[Path, Path], tmp_path: Path) -> None:
    found = validate(SHAPES, models[0], PICTURES, tmp_path / "out")
    paths = found.save(tmp_path / "out")
    assert [path.name for path in paths] == WRITTEN
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["journal.jsonl", *(path.name for path in paths)]
    )
    written = json.loads(paths[-1].read_text("utf-8"))
    assert "seconds" not in written  # two runs of the same write the same bytes
    assert written == json.loads(json.dumps(found.as_dict()))
    assert written["passed"] is True
    assert [row["picture"] for row in written["pictures"]] == [str(path) for path in PICTURES]
    assert written["pictures"][0]["target"]["label"] in (Explainer(SHAPES).class_names or ())
    for again in (
        lambda: validate(SHAPES, models[0], PICTURES, tmp_path / "out"),
        lambda: found.save(tmp_path / "out"),
    ):
        with pytest.raises(OutputError, match="holds a finished validation; choose another folder with -o, or --over"):
            again()


def test_a_candidate_that_crashes_leaves_what_was_done(
    models: tuple[Path, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = Observer(models[0])
    ask, calls = candidate.outcomes, []

    def crashing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise EngineError("ONNX Runtime failed: out of memory")
        return ask(*arguments)

    monkeypatch.setattr(candidate, "outcomes", crashing)
    with pytest.raises(EngineError) as caught:
        validate(SHAPES, candidate, folder, tmp_path / "out", batch_size=2)
    assert str(caught.value) == (
        f"the candidate '{models[0]}': ONNX Runtime failed: out of memory; 6 of 12 images are done and kept in "
        f"'{tmp_path / 'out'}': repeat the command to resume"
    )
    calls.clear()
    found = validate(SHAPES, models[0], folder, tmp_path / "out", batch_size=2)
    assert len(found.journal) == 12


def test_an_unreadable_picture_among_many(models: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "photos")
    broken = tmp_path / "photos" / "00003.png"
    broken.write_bytes(b"no image")
    found = validate(SHAPES, models[0], tmp_path / "photos")
    assert len(found.journal) == 11
    ((name, why),) = found.unreadable
    assert name == str(broken)
    assert "is not an image" in why
    with pytest.raises(ImageError, match=r"00003\.png: is not an image that OpenCV reads"):
        validate(SHAPES, models[0], tmp_path / "photos", strict=True)


def relabelled(path: Path) -> Path:
    model = onnx.load(SHAPES)
    card = next(prop for prop in model.metadata_props if prop.key == "onnxcam")
    known = json.loads(card.value)
    known["labels"][1] = "zebra"
    card.value = json.dumps(known)
    onnx.save(model, path)
    return path


def of_two_classes(path: Path) -> Path:
    onnx.save(hand_model(), path)
    return path


@pytest.mark.parametrize(
    ("candidate", "told", "error", "message"),
    [
        (
            relabelled,
            {},
            MetricError,
            r"the labels differ: class 1 is '\w+' in '.*shapes.onnx' and 'zebra' in '.*'; if",
        ),
        (of_two_classes, {}, MetricError, r"has \d+ classes and '.*' 2: classes are compared by index, so both must"),
        (
            None,
            {"images": []},
            ImageError,
            "no image is named; give files, a folder, a pattern or a list that names some",
        ),
        (None, {"images": "none/*.png"}, ImageError, r"none/\*\.png: no file is called like this; check the name"),
        (None, {"images": "none.png"}, ImageError, r"none\.png: no such file or folder; check the name"),
        (None, {"require": "energy>=0.3"}, MetricError, r"'energy >= 0\.3' needs ground truth; give"),
        (None, {"require": "iou=3"}, MetricError, r"the requirement does not parse: after iou comes one of"),
        (None, {"method": "gradcamm"}, OnnxcamError, r"the reference '.*': no method is called 'gradcamm'"),
    ],
)
def test_what_cannot_be_validated(
    tmp_path: Path, candidate: Callable[[Path], Path] | None, told: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = SHAPES if candidate is None else candidate(tmp_path / "other.onnx")
    settings = {"images": PICTURES, **told}
    with pytest.raises(error, match=message):
        validate(SHAPES, model, **settings)


def test_a_folder_of_no_pictures_and_pictures_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the folder has no image, signal or volume; there is no file"):
        validate(SHAPES, SHAPES, tmp_path)
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"none of the 1 images could be read; the first: .*a\.png: is not an im"):
        validate(SHAPES, SHAPES, tmp_path)


def test_another_task_says_what_is_possible(tmp_path: Path) -> None:
    detector = Path(__file__).parents[2] / "models" / "detector.onnx"
    words = r"'.*' is read as a model for classification and '.*' as one for detection: only models of one task are c"
    with pytest.raises(MetricError, match=words):
        validate(SHAPES, detector, PICTURES)


def test_a_reference_that_is_wrong_on_everything(models: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    labels = Explainer(SHAPES).class_names
    assert labels is not None
    tops = {pair.tops[0] for pair in validate(SHAPES, SHAPES, folder).journal}
    absent = next(label for index, label in enumerate(labels) if index not in tops)
    boxes = {path.name: [{"label": absent, "box": [0, 0, 9, 9]}] for path in folder.iterdir()}
    (tmp_path / "truth.json").write_text(json.dumps(boxes))
    with pytest.raises(MetricError, match="the reference itself is wrong on all 12 images: nothing can be measured by"):
        validate(SHAPES, models[0], folder, truth=Truth(tmp_path / "truth.json"))


def test_a_reference_that_always_says_the_same(tmp_path: Path, models: tuple[Path, Path]) -> None:
    for number in range(8):
        image.write(tmp_path / f"{number}.png", np.roll(image.read(PICTURES[0]), number, axis=1))
    found = validate(SHAPES, models[0], tmp_path)
    assert any("first in all 8 images: top1 says little" in warning for warning in found.warnings)


def test_different_preprocessing_is_told(models: tuple[Path, Path]) -> None:
    found = validate(SHAPES, Observer(models[0], preprocess="imagenet"), [PICTURES[0]])
    assert found.verdict == "undecided"
    assert "the two models get different inputs" in found.doubt


def test_maps_that_are_blank_are_counted_and_not_fatal(tmp_path: Path) -> None:
    """A candidate whose last layer was set to zero: no gradient comes through."""
    model = onnx.load(SHAPES)
    tensor = [t for t in model.graph.initializer if len(t.dims) == 2][-1]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    onnx.save(model, tmp_path / "dead.onnx")
    found = validate(SHAPES, tmp_path / "dead.onnx", PICTURES)
    assert not found.passed
    assert found.summaries["mapped"].mean == 0
    assert "iou" not in found.summaries
    verdicts = {verdict.metric: verdict for verdict in found.verdicts}
    assert verdicts["iou"].value is None
    assert all("the candidate's map is blank" in pair.notes[-1] for pair in found.journal)


@pytest.mark.slow
def test_memory_is_bounded(models: tuple[Path, Path], tmp_path: Path) -> None:
    """Of 200 images more (27 MB as tensors) names and numbers stay in memory, no map and no image."""
    folder = photos(tmp_path / "photos", 240)
    few = sorted(folder.iterdir())[:40]
    observers = Observer(SHAPES), Observer(models[0])
    validate(*observers, few)
    kept, peaks = [], []
    for pictures in (few, sorted(folder.iterdir())):
        tracemalloc.start()
        found = validate(*observers, pictures, tmp_path / f"out{len(peaks)}", jobs=1)
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(found.journal) == len(pictures)
        kept.append(now)
        peaks.append(peak)
    assert kept[1] - kept[0] < 200 * 2000
    assert peaks[1] - peaks[0] < 2**23  # batches on the way, and the draws of the bootstrap, which are bounded too


def test_the_summary_by_hand(models: tuple[Path, Path], folder: Path) -> None:
    pairs = list(validate(SHAPES, models[1], folder).journal)
    column = np.array([pair.values["iou"] for pair in pairs])
    found = summarise(pairs)["iou"]
    assert found.mean == pytest.approx(column.mean())
    assert found.median == pytest.approx(np.median(column))
    assert found.worst == column.min()
    assert found.worst_picture == pairs[int(column.argmin())].picture
    assert found.low is not None
    assert found.high is not None
    spread = 1.96 * column.std() / np.sqrt(len(column))
    assert found.mean - found.low == pytest.approx(spread, rel=0.35)
    assert found.high - found.mean == pytest.approx(spread, rel=0.35)


def test_an_interval_in_pieces_is_the_interval_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    cases, names = rng.random((50, 3)), rng.integers(0, 17, 50).tolist()
    whole = bootstrap_interval(cases, names)
    monkeypatch.setattr("onnxcam.metrics.bootstrap.CHUNK", 100)
    pieces = bootstrap_interval(cases, names)
    assert whole.low is not None
    assert np.allclose(whole.low, pieces.low, atol=1e-12)
    assert np.allclose(whole.high, pieces.high, atol=1e-12)


def test_int8_against_float_on_real_files(real: Path) -> None:
    """MLPerf Tiny's visual wake words network: quantised, it looks at the same place with the same evidence."""
    models = [real / "models" / f"vww_mobilenet_96_{kind}.onnx" for kind in ("f32", "qdq")]
    found = validate(*models, f"{real}/images/*.jpg", preprocess="crop=96x96,range=0-1")
    assert found.passed
    assert (found.reference.kind, found.candidate.kind) == ("float32", "int8")
    assert found.summaries["top1"].mean == 1
    assert found.summaries["iou"].mean > 0.9
    assert found.summaries["strength"].mean > 0.8
    assert found.summaries["cosine"].mean > 0.99
