"""`batch`: rows, errors, parts, resumption, shards, pictures that end their process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

import onnxcam
from onnxcam import Explainer
from onnxcam.batching import schema, supervisor
from onnxcam.batching.batch import BatchSummary, batch
from onnxcam.batching.merge import merge
from onnxcam.batching.parts import BatchPart, PartWriter
from onnxcam.batching.supervisor import PictureRows
from onnxcam.errors import EngineError, OnnxcamError, OutputError, TargetError
from onnxcam.media import image
from tests.batching.killers import preprocess
from tests.batching.pictures import GREEN, RED, SHAPES, content, folder, rows, shapes, table
from tests.command import Ran


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_rows_say_what_explain_says() -> None:
    folder(Path("photos"), 3)
    assert onnxcam.batch(SHAPES, "photos", "out") == BatchSummary(3, 3, 0)
    explainer = Explainer(SHAPES)
    for number, row in enumerate(rows("out")):
        path = f"photos/{number:04d}.png"
        one = explainer(path)
        assert (row["number"], row["id"], row["path"]) == (number, f"{number:04d}.png", path)
        assert (row["label"], row["index"], row["score"], row["probability"]) == (
            one.label,
            one.target,
            one.score,
            one.probability,
        )
        found = np.frombuffer(row["map"], row["map_dtype"]).reshape(row["map_shape"])
        np.testing.assert_array_equal(found, one.raw)
        assert (row["predicted"], row["predicted_label"]) == (one.target, one.label)
        assert row["layer"] == one.layer
        assert row["grid"] == list(one.raw.shape)
        assert (row["height"], row["width"]) == one.image.shape[:2]
        assert row["error"] is None
        heat = np.frombuffer(row["heat"], np.uint8).reshape(16, 16)
        small = one.map.reshape(16, 6, 16, 6).mean((1, 3))
        np.testing.assert_allclose(heat / 255, small / small.max(), atol=0.01)


def test_the_metadata_of_parts_and_the_schema() -> None:
    folder(Path("photos"), 2)
    batch(SHAPES, "photos", "out")
    read = pq.read_schema("out/part-000000.parquet")
    assert read.names == schema.COLUMNS.names
    identity = schema.identity_of(read, "out")
    header = json.loads(Path("out/batch.json").read_text(encoding="utf-8"))
    assert {"format": "onnxcam.batch", "schema": 2, **identity} == header
    assert header["method"] == "gradcam"
    assert header["source"]["pictures"] == 2


def test_a_broken_picture_is_a_row_with_its_error() -> None:
    folder(Path("photos"), 5, broken=(1, 3))
    found = batch(SHAPES, "photos", "out")
    assert (found.pictures, found.rows, found.errors) == (5, 5, 2)
    assert found.first_error.startswith("0001.png: photos/0001.png: is not an image that OpenCV reads")
    assert [row["error_type"] for row in rows("out")] == [None, "ImageError", None, "ImageError", None]
    assert rows("out")[1]["sha256"] is not None
    assert rows("out")[1]["map"] is None


def test_errors_are_tried_again_on_request() -> None:
    folder(Path("photos"), 8, broken=(1, 6))
    batch(SHAPES, "photos", "out", part_size=2)
    image.write("photos/0006.png", shapes(6))
    assert batch(SHAPES, "photos", "out", part_size=2).errors == 2
    assert batch(SHAPES, "photos", "out", part_size=2, retry_errors=True).errors == 1
    assert [row["id"] for row in rows("out") if row["error"]] == ["0001.png"]


def test_what_was_guessed_is_said(onnxcam: Any) -> None:
    folder(Path("photos"), 2)
    bare = onnx.load(SHAPES)
    del bare.metadata_props[:]
    onnx.save(bare, "bare.onnx")
    words = [sys.executable, "-m", "onnxcam", "batch", "bare.onnx", "photos", "-o", "out"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stderr  # of its workers too
    assert said.count("the preprocessing is a guess") == said.count("warning: the preprocessing is a guess") == 1
    folder(Path("broken"), 2, broken=(0, 1))
    assert onnxcam("batch", SHAPES, "broken", "-o", "no").code == 1


def test_targets_of_the_run_and_of_the_manifest() -> None:
    folder(Path("photos"), 3)
    onnx_rows = table(path=["0000.png", "0001.png"], target=["ring", None], weather=["sun", "rain"], n=[1, 2])
    pq.write_table(onnx_rows, "photos/list.parquet")
    batch(SHAPES, "photos/list.parquet", "out", targets=["circle", "top"])
    found = rows("out")
    assert [row["label"] for row in found][:2] == ["ring", "circle"]
    assert [row["id"] for row in found] == ["0000.png", "0001.png", "0001.png"]
    assert [row["weather"] for row in found] == ["sun", "rain", "rain"]
    assert [row["n"] for row in found] == [1, 2, 2]
    top = rows("out")[2]
    assert top["predicted"] == top["index"]
    assert rows("out")[0]["predicted"] == Explainer(SHAPES)("photos/0000.png").target


def test_truth_of_a_manifest_and_of_boxes() -> None:
    folder(Path("photos"), 2)
    label = Explainer(SHAPES)("photos/0000.png").label
    other = next(name for name in ("ring", "circle") if name != label)
    Path("photos/list.csv").write_text(f"path,truth\n0000.png,{label}\n0001.png,{other}\n", encoding="utf-8")
    batch(SHAPES, "photos/list.csv", "out")
    assert rows("out")[0]["correct"] is True
    assert rows("out")[0]["truth"] == [label]
    images = [{"id": n, "file_name": f"000{n}.png", "width": 96, "height": 96} for n in range(2)]
    boxes = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 48, 96], "area": 1, "iscrowd": 0} for n in (0, 1)
    ]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": label}]}
    Path("photos/coco.json").write_text(json.dumps(coco), encoding="utf-8")
    batch(SHAPES, "photos/coco.json", "boxes")
    for row in rows("boxes"):
        heat = np.frombuffer(row["heat"], np.uint8).reshape(16, 16).astype(float)
        assert row["truth_area"] == pytest.approx(0.5)
        assert row["map_truth"] == pytest.approx(heat[:, :8].sum() / heat.sum(), abs=0.03)
        assert row["truth"] == [label]


def test_overlays_and_rows_without_maps() -> None:
    folder(Path("photos"), 2)
    batch(SHAPES, "photos", "out", overlays={"format": "png"}, maps="none", targets=["top=2"])
    found = rows("out")
    assert [row["overlay"] for row in found] == [f"overlays/00000000{n}-{k}.png" for n in (0, 1) for k in (0, 1)]
    assert all(row["map"] is None and row["map_shape"] for row in found)
    drawn = image.read(f"out/{found[0]['overlay']}")
    np.testing.assert_array_equal(drawn, Explainer(SHAPES)("photos/0000.png").overlay(times=3))


def test_the_same_call_resumes_and_makes_only_what_is_missing() -> None:
    folder(Path("photos"), 10)
    batch(SHAPES, "photos", "out", part_size=3)
    before = content("out")
    assert sorted(before) == ["batch.json", *(f"part-00000{n}.parquet" for n in range(4)), "summary.json"]
    Path("out/part-000002.parquet").unlink()
    stamps = {name: os.stat(f"out/{name}").st_mtime_ns for name in before if (Path("out") / name).exists()}
    batch(SHAPES, "photos", "out", part_size=3)
    assert content("out") == before
    assert os.stat("out/part-000001.parquet").st_mtime_ns == stamps["part-000001.parquet"]


def test_shards_merge_to_the_batch_of_one_run() -> None:
    folder(Path("photos"), 40, broken=(7,))
    batch(SHAPES, "photos", "whole", part_size=9, overlays={})
    counts = [
        batch(SHAPES, "photos", f"shard{n % 2}", part_size=9, shard=f"{n}/4", overlays={}).pictures for n in range(4)
    ]
    assert sum(counts) == 40
    assert min(counts) > 0
    found = merge(["shard0", "shard1"], "merged")
    assert (found.pictures, found.rows, found.errors, found.first_error) == (40, 40, 1, rows_error("whole"))
    assert content("merged") == content("whole")
    batch(SHAPES, "photos", "two", part_size=9, workers=2, overlays={})
    assert content("two") == content("whole")


def rows_error(where: str) -> str:
    return next(f"{row['id']}: {row['error']}" for row in rows(where) if row["error"])


def test_a_folder_of_another_number_of_shards_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    folder(Path("photos"), 4)
    batch(SHAPES, "photos", "out", shard="0/3")
    monkeypatch.setattr("onnxcam.batching.batch.read_source", None)
    for shard in ("2/4", "0/1"):
        with pytest.raises(OutputError, match=r"out: holds '(part|summary)-0-of-3.*' of a run in 3 shards, and shard "):
            batch(SHAPES, "photos", "out", shard=shard)


def test_targets_given_twice_and_more_classes_than_there_are(onnxcam: Any) -> None:
    folder(Path("photos"), 1)
    ran: Ran = onnxcam("batch", SHAPES, "photos", "-o", "twice", "-t", "star", "-t", "ring", "-t", "star")
    assert "warning: --target 'star' is given 2 times; it is explained once" in ran.err
    assert [row["label"] for row in rows("twice")] == ["star", "ring"]
    ran = onnxcam("batch", SHAPES, "photos", "-o", "all", "--top", "99")
    assert "warning: top=99: the model has 6 classes, and all are explained" in ran.err
    assert len(rows("all")) == 6


def test_a_picture_that_ends_its_process_is_a_row_with_its_error() -> None:
    folder(Path("photos"), 6, red=RED, sad=RED)
    found = batch(SHAPES, "photos", "out", preprocess=preprocess, part_size=4)
    assert (found.pictures, found.rows, found.errors) == (8, 8, 2)
    failed = [row for row in rows("out") if row["error"]]
    assert [row["id"] for row in failed] == ["red.png", "sad.png"]
    assert failed[0]["error"] == "the picture ended the process that explains it 3 times (signal 9)"
    assert failed[0]["error_type"] == "EngineError"


def test_a_picture_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    folder(Path("photos"), 2, slow=GREEN)
    found = batch(SHAPES, "photos", "out", preprocess=preprocess, picture_timeout=2)
    assert (found.rows, found.errors) == (3, 1)
    assert rows("out")[2]["error"] == "the picture ended the process that explains it 3 times (no answer for 2 s)"


def test_a_model_that_ends_the_process_at_every_picture_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "HOPELESS", 2)
    folder(Path("photos"), 0, **{f"red{n:02d}": RED for n in range(4)})
    with pytest.raises(EngineError, match=r"ended at each of the first 2 pictures \(signal 9\); the model or"):
        batch(SHAPES, "photos", "out", preprocess=preprocess)


def test_errors_before_the_first_picture() -> None:
    folder(Path("photos"), 2)
    with pytest.raises(TargetError, match=r"cat"):
        batch(SHAPES, "photos", "out", targets=["cat"])
    with pytest.raises(OutputError, match=r"no maps are called 'big'; there are raw and none"):
        batch(SHAPES, "photos", "out", maps="big")
    with pytest.raises(OnnxcamError, match="workers, cpus and the part size are whole numbers of at least 1"):
        batch(SHAPES, "photos", "out", workers=0)
    with pytest.raises(OnnxcamError, match=r"--shard '8/8' is no shard; it is i/n, i from 0 to n-1, such as 0/8"):
        batch(SHAPES, "photos", "out", shard="8/8")
    assert not Path("out").exists()


def test_another_batch_in_the_folder_is_kept() -> None:
    folder(Path("photos"), 2)
    batch(SHAPES, "photos", "out")
    before = content("out")
    with pytest.raises(OutputError, match=r"out: holds the batch of another run \(other method\); choose another"):
        batch(SHAPES, "photos", "out", method="layercam")
    folder(Path("photos"), 3)
    with pytest.raises(OutputError, match=r"\(other source\)"):
        batch(SHAPES, "photos", "out")
    assert content("out") == before
    batch(SHAPES, "photos", "out", overwrite=True)
    assert len(rows("out")) == 3
    Path("out/batch.json").unlink()
    with pytest.raises(OutputError, match=r"out: holds 'part-000000.parquet' and no batch.json; choose another folder"):
        batch(SHAPES, "photos", "out")
    Path("file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="file: is no folder; choose another with -o"):
        batch(SHAPES, "photos", "file")


def losing(monkeypatch: pytest.MonkeyPatch, name: str, whole: bool) -> None:
    """Have the part *name* not be written, or without its first picture."""
    write = PartWriter.write

    def written(self: PartWriter, part: BatchPart, found: dict[int, PictureRows]) -> None:
        if part.name == name and whole:
            return
        if part.name == name:
            found[part.pictures[0].number] = [], {}
        write(self, part, found)

    monkeypatch.setattr(PartWriter, "write", written)


def test_rows_that_are_missing_after_the_run_are_exit_code_1(onnxcam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(Path("photos"), 5)
    words = ("batch", SHAPES, "photos", "-o", "out", "--part-size", "2")
    with monkeypatch.context() as patch:
        losing(patch, "part-000001.parquet", whole=True)
        ran: Ran = onnxcam(*words)
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == (
        "error: out: 1 of 3 parts are missing after the run, the first is part-000001.parquet; repeat the command, "
        "which makes these alone"
    )
    with monkeypatch.context() as patch:
        losing(patch, "part-000001.parquet", whole=False)
        ran = onnxcam(*words)
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == (
        "error: out: the parts hold rows of 4 pictures, and the source has 5; repeat the command with --overwrite, "
        "which makes all parts again"
    )
    assert not Path("out/summary.json").exists()
    assert onnxcam(*words, "--overwrite").code == 0
    assert len(rows("out")) == 5
    assert onnxcam(*words, "--shard", "8/8").code == 2


def test_a_shard_without_pictures_is_complete(onnxcam: Any) -> None:
    folder(Path("photos"), 1)
    codes = [onnxcam("batch", SHAPES, "photos", "-o", "out", "--shard", f"{n}/2").code for n in (0, 1)]
    assert codes == [0, 0]
    assert onnxcam("merge", "out", "-o", "merged").code == 0
    assert len(rows("merged")) == 1


def start(*words: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        "from onnxcam.cli import main; main()",
        "batch",
        SHAPES,
        "photos",
        "-o",
        "out",
        *words,
    ]
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}, start_new_session=True)


def descendants(process: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()
    return [int(one) for one in found]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
@pytest.mark.parametrize("killed", ["worker", "driver", "all"])
def test_kill_9_loses_nothing_and_doubles_nothing(killed: str) -> None:
    folder(Path("photos"), 60, broken=(20,))
    batch(SHAPES, "photos", "whole", part_size=4)
    for moment in np.random.default_rng(0).uniform(0.2, 2.0, 3 if killed == "all" else 1):
        process = start("--part-size", "4")
        time.sleep(moment)
        workers = descendants(process.pid)
        for one in workers if killed == "worker" else [process.pid] if killed == "driver" else [process.pid, *workers]:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        if killed != "worker":
            process.wait()
        else:
            assert process.wait() == 0
    assert start("--part-size", "4").wait() == 0
    found = content("out")
    drafts = {name for name in found if name.startswith(".onnxcam-")}  # of a process that was killed while it wrote
    assert len(drafts) <= 3
    assert {name: found[name] for name in found.keys() - drafts} == content("whole")


def test_the_command(onnxcam: Any) -> None:
    folder(Path("photos"), 3, broken=(1,))
    ran: Ran = onnxcam("batch", SHAPES, "photos", "-o", "out")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == ["batch\tcount", "pictures\t3", "rows\t3", "errors\t1"]
    assert "warning: 1 rows hold an error, the first: 0001.png: photos/0001.png: is not an image" in ran.err
    ran = onnxcam("merge", "out", "-o", "merged", "--json")
    assert json.loads(ran.out)["rows"] == 3
    assert onnxcam("batch", SHAPES, "photos", "-o", "x", "--top", "2", "-t", "0").code == 2
