"""docs/trackers.md is true: each block runs as written, and what it logged can be read back."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compare.twins import SHAPES, noisy, photos
from tests.docs_pages import DOCS

PAGE = (DOCS / "trackers.md").read_text("utf-8")
SECTIONS = dict(section.split("\n", 1) for section in re.split(r"^#+ (?=[A-Z])", PAGE, flags=re.MULTILINE)[1:])
BLOCKS = {
    title: block[1]
    for title, text in SECTIONS.items()
    if (block := re.search(r"^```py(?:thon)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the first block makes, in the folder where it ran."""
    folder, before = tmp_path_factory.mktemp("trackers"), Path.cwd()
    os.chdir(folder)
    shutil.copy(SHAPES, "float.onnx")
    noisy(Path("int8.onnx"), 0.1)
    photos(Path("photos"), 2)
    scope: dict[str, Any] = {}
    exec(BLOCKS["Experiment trackers and labelling tools"], scope)
    yield scope
    os.chdir(before)


def run(title: str, scope: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the other package
        exec(compile(BLOCKS[title], title, "exec"), dict(scope))


def test_tensorboard(logged: dict[str, Any]) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    run("TensorBoard", logged)
    (file,) = Path("runs/int8").iterdir()
    data, events = file.read_bytes(), []
    while data:  # a record: its length, a checksum of 4 bytes, the event, a checksum
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    found = {value.tag: value for event in events for value in event.summary.value}
    for name, mean in logged["scores"].items():
        assert found[name].simple_value == pytest.approx(mean, rel=1e-6)
    assert found["onnxcam/worst"].image.height > 100
    assert any(tag.startswith("onnxcam/summary") for tag in found)


def test_mlflow(logged: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", Path("mlruns").resolve().as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny has no database
    run("MLflow", logged)
    last = mlflow.last_active_run()
    assert last.data.metrics == pytest.approx(logged["scores"])
    assert last.data.tags["onnxcam.verdict"] == logged["found"].verdict
    kept = {one.path for one in mlflow.MlflowClient().list_artifacts(last.info.run_id, "onnxcam")}
    assert {"onnxcam/report.html", "onnxcam/worst.png"} <= kept


def test_wandb(logged: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run("Weights & Biases", logged)
    (folder,) = Path("wandb").glob("offline-run-*")
    kept = {path.name.partition("_")[0] for path in (folder / "files" / "media").rglob("*") if path.is_file()}
    assert len(kept) >= 2
    assert [*folder.glob("*.wandb")]


def test_label_studio(logged: dict[str, Any]) -> None:
    run("Label Studio", logged)
    tasks = json.loads(Path("tasks.json").read_text(encoding="utf-8"))
    assert [task["data"]["image"] for task in tasks] == [f"/data/local-files/?d=photos/0000{at}.png" for at in range(2)]
    for task in tasks:
        (prediction,) = task["predictions"]
        (drawn,) = prediction["result"]
        value = drawn["value"]
        assert 0 <= prediction["score"] <= 1
        assert value["rectanglelabels"][0] in ("circle", "square", "star", "cross", "triangle", "ring")
        assert all(0 <= value[name] <= 100 for name in ("x", "y", "width", "height"))
        assert max(value["x"] + value["width"], value["y"] + value["height"]) <= 100.0001
        assert value["width"] * value["height"] > 0


def test_each_title_has_a_block() -> None:
    assert [*BLOCKS] == [*SECTIONS][:-1]
    compile(BLOCKS["FiftyOne"], "FiftyOne", "exec")  # not run: it needs a database server
