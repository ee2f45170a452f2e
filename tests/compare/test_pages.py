"""docs/validate.md and docs/worked-case.md are true: their commands and Python run, their table has what comes out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxcam.compare.image_comparison import AGREEMENT_METRICS
from onnxcam.compare.thresholds import DEFAULTS, parse
from tests.command import Ran
from tests.compare.twins import SHAPES, photos, quantize

DOCS = Path(__file__).parents[2] / "docs"
CASE = (DOCS / "worked-case.md").read_text("utf-8")
DETECTOR_CASE = (DOCS / "worked-case-detector.md").read_text("utf-8")
PAGE = (DOCS / "validate.md").read_text("utf-8")


def follow(page: str, onnxcam: Callable[..., Ran], without: str = "") -> dict[str, Ran]:
    """Do what *page* says, in order, in the current folder; return what came of each command, by its folder.

    Commands called *without* are left out: they take long.
    """
    ran = {}
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if kind == "python":
            exec(compile(block, "page", "exec"), {})
        elif kind == "":
            for words in (words for words in map(shlex.split, block.splitlines()) if words[1] != without):
                ran[words[words.index("-o") + 1]] = onnxcam(*words[1:])
    return ran


def table(page: str) -> dict[str, dict[str, str]]:
    """Return the table whose head names folders: its cells by column and row."""
    lines = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    head, *rows = (line for line in lines if not set("".join(line)) <= set("-"))
    return {
        name: {row[0]: row[at] for row in rows if row[0]} | {"": rows[-1][at]} for at, name in enumerate(head) if at
    }


def checked(page: str, ran: dict[str, Ran], **tolerance: float) -> dict[str, Any]:
    """Check the table of *page* against what *ran* wrote; return each validation.json by its folder."""
    told, files = table(page), {}
    assert set(ran) == set(told)
    for name, column in told.items():
        files[name] = json.loads(Path(name, "validation.json").read_text("utf-8"))
        found = {row["metric"]: row["mean"] for row in files[name]["summary"]}
        for metric in AGREEMENT_METRICS:
            if metric in column:  # rounding differs a little from processor to processor
                assert float(column[metric]) == pytest.approx(found[metric], **tolerance), (name, metric)
        assert (column[""], ran[name].code) in {("passed", 0), ("failed", 1)}, name
        assert files[name]["passed"] is (ran[name].code == 0)
    return files


@pytest.mark.slow
def test_the_worked_case(real: Path, onnxcam: Callable[..., Ran]) -> None:
    Path("real").symlink_to(real, target_is_directory=True)
    ran = follow(CASE, onnxcam, without="repair")
    assert ran.pop("why").code == 0
    first = json.loads(Path("why", "diagnosis.json").read_text("utf-8"))["tensors"][0]
    assert (first["cause"]["id"], round(first["share"], 1)) == ("clipped", 0.1)
    for name, data in checked(CASE, ran, abs=0.025, rel=0.1).items():
        assert len(data["pictures"]) == 17
        assert Path(name, "report.html").stat().st_size > 500_000


@pytest.mark.slow
def test_the_worked_case_of_a_detector(onnxcam: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    root = DOCS.parent
    Path("models").symlink_to(root / "models", target_is_directory=True)
    monkeypatch.syspath_prepend(root)
    ran = follow(DETECTOR_CASE, onnxcam)
    checked(DETECTOR_CASE, ran, abs=0.04)
    assert "no threshold keeps 90% of them" in ran["noise"].err
    assert "by one scale of 0.248" in ran["whole"].err
    assert "warning" not in ran["convolutions"].err


@pytest.fixture
def folder(onnxcam: Callable[..., Ran]) -> Path:
    """A float and an int8 network, and photos, under the names that the page gives them."""
    shutil.copy(SHAPES, "float.onnx")
    pictures = photos(Path("photos"), 8)
    rows = [f"{path.name},{('circle', 'ring')[int(path.stem) % 2]}" for path in sorted(pictures.iterdir())]
    Path("truth.csv").write_text("\n".join(["image,label", *rows]), "utf-8")
    quantize(Path("float.onnx"), Path("int8.onnx"), pictures)
    return Path.cwd()


@pytest.mark.slow
def test_how_to_use_it(folder: Path, onnxcam: Callable[..., Ran]) -> None:
    ran = follow(PAGE, onnxcam)
    shards = ("shard0", "shard1", "shard2")
    assert {name: each.code for name, each in ran.items()} == dict.fromkeys(
        ("out", "strict", "truth", "layers", "resumed", *shards, "weights", "activations"), 0
    ), {name: each.err for name, each in ran.items()}
    assert {file.name for file in Path("out").iterdir()} == set(
        re.findall(r"^\| `([a-z]+\.\w+)` \|", PAGE, re.MULTILINE)
    )


def test_each_metric_is_told_with_its_better_way() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([↑↓]) \|", PAGE, re.MULTILINE))
    metrics = {id: metric for id, metric in AGREEMENT_METRICS.items() if not metric.total}
    assert rows == {id: "↑" if metric.better == "higher" else "↓" for id, metric in metrics.items()}


def test_each_metric_by_the_truth_is_told() -> None:
    for id, metric in AGREEMENT_METRICS.items():
        assert not metric.total or f"`{id}`" in PAGE


def test_what_is_required_by_default_is_told() -> None:
    assert DEFAULTS in re.sub(r"\s+", " ", PAGE)
    for words in re.findall(r'-r "(.*?)"', PAGE):
        parse(words)
