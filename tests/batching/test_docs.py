"""docs/batch.md and the files beside it: their commands run as written, shard by shard, and merge to one run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from onnxcam.batching.batch import batch
from onnxcam.batching.schema import COLUMNS
from tests.batching.pictures import SHAPES, content, folder
from tests.command import Ran

yaml = pytest.importorskip("yaml", reason="no PyYAML: pip install 'onnxcam[truth]'")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of one run over the pictures of `here`."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        pictures_and_model()
        batch("model.onnx", "photos", "whole")
    return content(place / "whole")


def pictures_and_model() -> None:
    shutil.copy(SHAPES, "model.onnx")
    folder(Path("photos"), 24)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder as the files expect it, with `onnxcam` on the path."""
    monkeypatch.chdir(tmp_path)
    pictures_and_model()
    program = Path("bin/onnxcam")
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom onnxcam.cli import main\nmain()\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent.resolve()}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run(onnxcam: Command, words: Sequence[str]) -> None:
    """Run a command of onnxcam in this process."""
    assert words[0] == "onnxcam"
    ran = onnxcam(*words[1:])
    assert ran.code == 0, ran.err


def shell(command: Sequence[str], **environment: str) -> None:
    ran = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="the files are for Linux")
def test_kubernetes(onnxcam: Command, one_run: dict[str, bytes]) -> None:
    shards, merge = yaml.safe_load_all((DOCS / "batch/kubernetes.yaml").read_text())
    count = shards["spec"]["completions"]
    (container,) = shards["spec"]["template"]["spec"]["containers"]
    for index in range(count):
        run(onnxcam, [word.replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in container["command"]])
    run(onnxcam, merge["spec"]["template"]["spec"]["containers"][0]["command"])
    assert content("merged") == one_run


@pytest.mark.skipif(sys.platform == "win32", reason="the files are for Linux")
def test_slurm(one_run: dict[str, bytes]) -> None:
    text = (DOCS / "batch/slurm.sh").read_text()
    first, last = map(int, re.findall(r"--array=(\d+)-(\d+)", text)[0])
    assert first == 0 < last
    for index in range(2):  # as of a shorter array
        shell(["bash", str(DOCS / "batch/slurm.sh")], SLURM_ARRAY_TASK_ID=str(index), SLURM_ARRAY_TASK_COUNT="2")
    shell(re.findall(r"Then: (.*)", text)[0].split())
    assert content("merged") == one_run


@pytest.mark.skipif(sys.platform == "win32", reason="the files are for Linux")
def test_github(onnxcam: Command, one_run: dict[str, bytes]) -> None:
    jobs = yaml.safe_load((DOCS / "batch/github.yml").read_text())["jobs"]
    (command,) = [step["run"] for step in jobs["shard"]["steps"] if "onnxcam batch" in step.get("run", "")]
    for shard in jobs["shard"]["strategy"]["matrix"]["shard"]:
        run(onnxcam, command.replace("${{ matrix.shard }}", str(shard)).split())
        Path("results").rename(f"shard-{shard}")  # each machine has a folder of its own
    (merge,) = [step["run"] for step in jobs["merge"]["steps"] if "onnxcam merge" in step.get("run", "")]
    shell(["bash", "-c", merge.replace("shards/*", "shard-*")])
    assert content("merged") == one_run


def test_every_column_is_described() -> None:
    text = (DOCS / "batch.md").read_text("utf-8")
    table = text[text.index("| column | type | meaning |") :].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([a-z0-9_]+)`", row.split("|")[1])]
    assert named == COLUMNS.names
