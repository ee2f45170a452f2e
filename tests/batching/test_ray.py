"""The engine over Ray Data: the same files as the local one, whatever dies on the way."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onnxcam.batching import ray_engine
from onnxcam.batching.batch import BatchSummary, batch
from onnxcam.batching.job import Job
from onnxcam.batching.parts import BatchPart
from onnxcam.batching.ray_engine import PartActor
from onnxcam.batching.sources import read_source
from onnxcam.errors import EngineError, ImageError, IncompleteError, OnnxcamError, TargetError
from tests.batching.killers import preprocess
from tests.batching.pictures import BLUE, RED, SHAPES, content, folder, table
from tests.command import Ran

ROOT = str(Path(__file__).parents[2])

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows"),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:ray", "ignore::ResourceWarning", "ignore::FutureWarning:ray"
    ),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray of two processors on this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([ROOT, f"{ROOT}/converters"]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 80 * 2**20}
        ray.init(address="local", num_cpus=2, **options)
        yield ray
        ray.shutdown()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_ray_writes_the_files_of_the_local_engine(cluster: Any) -> None:
    folder(Path("photos"), 11, broken=(3,))
    names = [f"{number:04d}.png" for number in range(11)]
    pq.write_table(table(path=names, weather=["sun"] * 11), "photos/list.parquet")
    local = batch(SHAPES, "photos/list.parquet", "local", part_size=4)
    ticks: list[int] = []
    found = batch(
        SHAPES, "photos/list.parquet", "out", part_size=4, engine="ray", progress=lambda every, _: counted(every, ticks)
    )
    assert found == local == BatchSummary(11, 11, 1, local.first_error)
    assert content("out") == content("local")
    assert ticks == list(range(11))


def counted(every: Any, ticks: list[int]) -> Iterator[int]:
    for one in every:
        ticks.append(one)
        yield one


def test_actors_on_all_processors_do_not_starve(cluster: Any) -> None:
    folder(Path("photos"), 8)
    assert batch(SHAPES, "photos", "out", part_size=2, engine="ray", workers=2, cpus=1).rows == 8
    assert batch(SHAPES, "photos", "more", part_size=2, engine="ray", workers=5, cpus=2).rows == 8


def test_more_than_a_node_has_is_refused(cluster: Any) -> None:
    folder(Path("photos"), 1)
    with pytest.raises(
        EngineError, match=r"no node of the Ray cluster has 3 processors \(the largest of 1 has 2 and 0\)"
    ):
        batch(SHAPES, "photos", "out", engine="ray", cpus=3)
    with pytest.raises(
        EngineError, match=r"has 1 processors and 0.5 GPUs \(the largest .*; ask for fewer, or add a node"
    ):
        batch(SHAPES, "photos", "out", engine="ray", gpus=0.5)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus", "share"),
    [(1, None, 0, 16), (3, None, 0, 13), (99, None, 0, 1), (2, 4, 0, 4), (2, None, 0.5, 4)],
)
def test_the_share_of_a_worker(workers: int, cpus: int | None, gpus: float, share: int) -> None:
    large, small = {"CPU": 16.0, "node:a": 1.0}, {"CPU": 8.0, "GPU": 1.0}
    nodes = [{"Alive": True, "Resources": one} for one in (large, large, small)]
    assert ray_engine._share([*nodes, {"Alive": False, "Resources": {"CPU": 99.0}}], workers, cpus, gpus) == share


def test_a_picture_that_ends_its_process_is_a_row_with_its_error(cluster: Any) -> None:
    folder(Path("photos"), 4, red=RED)
    found = batch(SHAPES, "photos", "out", part_size=5, engine="ray", preprocess=preprocess)
    assert (found.rows, found.errors) == (5, 1)
    assert found.first_error == "red.png: the picture ended the process that explains it 3 times (signal 9)"


def test_an_actor_that_dies_is_started_again(cluster: Any) -> None:
    folder(Path("photos"), 4, blue=BLUE)
    Path("ends").write_text("1", encoding="utf-8")
    assert batch(SHAPES, "photos", "out", part_size=2, engine="ray", preprocess=preprocess).rows == 5
    assert Path("ends").read_text(encoding="utf-8") == "0"


@pytest.mark.parametrize("errored_blocks", [-1])  # 0 is the default: "Ray ended the run"
def test_a_part_that_ends_every_actor_ends_the_run(cluster: Any, errored_blocks: int) -> None:
    folder(Path("photos"), 4, blue=BLUE)
    Path("ends").write_text("99", encoding="utf-8")
    context = cluster.data.DataContext.get_current()
    message = (
        "Ray ended the run" if errored_blocks == 0 else "out: 1 of 3 parts are missing after the run, the first is"
    )
    context.max_errored_blocks = errored_blocks
    try:
        with pytest.raises(IncompleteError, match=message):
            batch(SHAPES, "photos", "out", part_size=2, engine="ray", preprocess=preprocess)
    finally:
        context.max_errored_blocks = 0
    assert 1 <= 99 - int(Path("ends").read_text(encoding="utf-8")) <= 1 + ray_engine.RETRIES
    assert not Path("out/summary.json").exists()
    Path("ends").write_text("0", encoding="utf-8")
    assert batch(SHAPES, "photos", "out", part_size=2, engine="ray", preprocess=preprocess).rows == 5


def test_parts_that_are_missing_are_exit_code_1(cluster: Any, onnxcam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(Path("photos"), 2)
    monkeypatch.setattr(ray_engine.RayEngine, "make", lambda *_: None)
    ran: Ran = onnxcam("batch", SHAPES, "photos", "-o", "out", "--engine", "ray", "--cpus", "1")
    assert ran.code == 1
    assert "error: out: 1 of 1 parts are missing after the run, the first is part-000000.parquet; repeat" in ran.err


def test_errors_of_every_picture_keep_their_class(cluster: Any) -> None:
    folder(Path("photos"), 2)
    with pytest.raises(TargetError, match="999"):
        batch(SHAPES, "photos", "out", engine="ray", targets=["999"])
    with pytest.raises(ImageError, match="2 pictures have the id"):
        batch(SHAPES, ["photos", "photos"], "out", engine="ray")
    with pytest.raises(OnnxcamError, match="no engine is called 'spark'; there are local and ray"):
        batch(SHAPES, "photos", "out", engine="spark")  # type: ignore[arg-type]
    with pytest.raises(OnnxcamError, match="gpus and an address are for Ray; add engine='ray'"):
        batch(SHAPES, "photos", "out", gpus=1)


def test_no_tensors_of_ray_in_the_files(cluster: Any) -> None:
    folder(Path("photos"), 2)
    batch(SHAPES, "photos", "out", engine="ray")
    read = pq.read_schema("out/part-000000.parquet")
    assert read.field("map").type == pa.binary()
    assert not any(isinstance(one.type, pa.BaseExtensionType) for one in read)


def actor(where: str, **others: Any) -> pa.Table:
    """Return what an actor of this process says of one part."""
    pictures = list(read_source(["photos"]).pictures())
    part = BatchPart("part-000000.parquet", pictures, [{}] * len(pictures))
    options = {"job": Job({"model": SHAPES}), "seconds": 60.0, "address": where, "rows": pa.schema([]), "identity": {}}
    made = PartActor(**{**options, "folder": os.getcwd(), **others})
    return made(pa.table({"part": [pickle.dumps(part)]})).to_pylist()[0]


def test_a_node_that_differs_says_so() -> None:
    folder(Path("photos"), 1)
    said = actor("nowhere")
    assert said["kind"] == "OutputError"
    assert "does not see the results there; choose storage that all nodes see" in said["error"]
    Path("out").mkdir()
    Path("out/batch.json").write_text("{}", encoding="utf-8")
    said = actor("out")
    assert said["kind"] == "EngineError"
    assert "would explain differently (other " in said["error"]
    said = actor("out", folder="/no/folder")
    assert "/no/folder: the node " in said["error"]
    assert "has no such folder; start onnxcam in a folder that all nodes have" in said["error"]


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    folder(Path("photos"), 1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"the engine ray needs Ray Data \(.*\); pip install 'onnxcam\[ray\]'"):
        batch(SHAPES, "photos", "out", engine="ray")


def failing(error: Exception) -> Callable[..., Any]:
    def act(*_: Any, **__: Any) -> Any:
        raise error

    return act


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("here:1", r"no Ray cluster at here:1 \(refused\); check the address, and the versions of Ray"),
        (None, r"Ray does not start on this machine \(refused\); check the address, and the versions of Ray"),
    ],
)
def test_a_cluster_that_is_not_there(address: str | None, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        ray_engine._connect(SimpleNamespace(init=failing(RuntimeError("refused"))), address)


def engine(error: Exception) -> ray_engine.RayEngine:
    """An engine over a Ray that fails with *error*."""
    found = ray_engine.RayEngine.__new__(ray_engine.RayEngine)
    task = SimpleNamespace(remote=lambda *_: None)
    kinds = SimpleNamespace(GetTimeoutError=TimeoutError, RayError=RuntimeError)
    found._ray = SimpleNamespace(remote=lambda **_: lambda _: task, get=failing(error), exceptions=kinds)
    found._cpus, found._gpus, found._job = 1, 0.0, Job({})
    return found


def test_errors_of_ray() -> None:
    with pytest.raises(EngineError, match="no explainer was ready on the Ray cluster after 1800 s; look with `ray sta"):
        engine(TimeoutError())._first_identity()
    with pytest.raises(EngineError, match=r"Ray failed \(RuntimeError: lost\); look at its logs, and whether onnxcam"):
        engine(RuntimeError("lost"))._first_identity()
    made = SimpleNamespace(iter_rows=failing(RuntimeError("lost")))
    with pytest.raises(IncompleteError, match=r"Ray ended the run \(RuntimeError: lost\); repeat the command, which"):
        list(engine(RuntimeError())._rows(made))


DRIVER = f"""
import sys
from onnxcam.batching.batch import batch
if __name__ == "__main__":
    print(batch({SHAPES!r}, "photos", "out", part_size=2, engine="ray", address=sys.argv[1] or None).rows)
"""


def start(address: str) -> subprocess.Popen[str]:
    Path("driver.py").write_text(DRIVER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, f"{ROOT}/converters"])}
    return subprocess.Popen(
        [sys.executable, "driver.py", address],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def parts() -> list[str]:
    return sorted(one.name for one in Path("out").glob("part-*.parquet"))


def test_kill_9_of_the_driver_loses_nothing(cluster: Any) -> None:
    folder(Path("photos"), 40)
    batch(SHAPES, "photos", "whole", part_size=2)
    process = start(cluster.get_runtime_context().gcs_address)
    ended = time.monotonic() + 200
    while len(parts()) < 3 and time.monotonic() < ended:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    before = {name: os.stat(f"out/{name}").st_mtime_ns for name in parts()}
    assert 3 <= len(before) < 20
    assert batch(SHAPES, "photos", "out", part_size=2, engine="ray").rows == 40
    assert content("out") == content("whole")
    kept = [name for name, when in before.items() if os.stat(f"out/{name}").st_mtime_ns == when]
    assert len(kept) >= len(before) - 1  # an actor may have written one more after the kill
