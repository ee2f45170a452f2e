"""``onnxcam validate`` as a user runs it: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from onnxcam.cli import show
from tests.command import Ran
from tests.compare.twins import PICTURES, SHAPES, TRUTH, noisy, photos

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noisy(tmp_path_factory.mktemp("models") / "far.onnx", 0.6)


def test_it_passes_and_writes_the_report(onnxcam: Run, tmp_path: Path) -> None:
    ran = onnxcam("validate", SHAPES, SHAPES, photos(tmp_path / "photos", 4), "-o", "out", "--layers")
    assert ran.code == 0, ran.err
    warning, layers, done, after, verdict = ran.err.splitlines()
    assert layers == "layers: they look at the same place up to the last layer, layer5.2 (IoU 1.00)"
    assert done == "done: 4 of 4 images, by gradcam, in out/"
    assert after == f"next: open {Path('out/report.html')}"
    assert verdict == "passed on 4 images: all requirements hold"
    assert "4 images cannot show a top1 of 0.9: with all equal, its 95 % bound is 0.25; give at least 30" in warning
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert rows[0] == ["metric", "mean", "low", "high", "worst", "worst image", "images", "required", "holds"]
    assert [row[0] for row in rows[1:5]] == ["top1", "top5", "cosine", "kl"]
    iou = next(row for row in rows if row[0] == "iou")
    assert iou[1:5] == ["1.0000"] * 4
    assert iou[6:] == ["4", "iou >= 0.5", "holds"]
    assert rows[-1] == ["layer5.2", "12 × 12", "1.0000", "1.0000", "1.0000"]
    names = ["journal.jsonl", "junit.xml", "report.html", "summary.md", "validation.json", "worst.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == names


def test_it_fails_with_exit_code_1_through_the_real_entry_point(far: Path, tmp_path: Path) -> None:
    words = ["validate", SHAPES, far, *PICTURES, "-o", tmp_path / "out", "--json"]
    code = "import sys; sys.argv[0] = 'onnxcam'; from onnxcam.cli import main; main()"
    ran = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("FAILED on 2 images: ")
    found = json.loads(ran.stdout)
    assert found == json.loads((tmp_path / "out" / "validation.json").read_text("utf-8"))
    assert found["passed"] is False
    failing = [asked["words"] for asked in found["requirements"] if not asked["holds"]]
    assert failing
    assert all(words in ran.stderr for words in failing)


def test_requirements_truth_and_a_side_of_its_own(onnxcam: Run) -> None:
    arguments = ["--truth", TRUTH, "-r", "energy>=0.05,accuracy_lost<=0", "--candidate-preprocess", "resize=96x96"]
    ran = onnxcam("validate", SHAPES, SHAPES, *PICTURES, *arguments, "--candidate-layer", "layer4.2", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert [asked["words"] for asked in found["requirements"]] == ["energy >= 0.05", "accuracy_lost <= 0"]
    both = onnxcam("validate", SHAPES, SHAPES, PICTURES[0], "-r", "iou>=0.5,iou.worst>1", "-o", "both")
    assert both.code == 1
    assert "\tiou >= 0.5, iou.worst > 1\tFAILS\n" in both.out
    assert found["candidate"]["layer"] == "layer4.2"
    assert found["reference"]["layer"] == "layer5.2"
    assert Path("onnxcam-validation/report.html").is_file()


def test_a_person_sees_a_table_that_fits(onnxcam: Run, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "out", Console(force_terminal=True, width=80, color_system=None, highlight=False))
    ran = onnxcam("validate", SHAPES, far, *PICTURES, "-o", "out")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0].split() == ["metric", "mean", "95", "%", "interval", "worst", "in", "required"]
    assert lines[1].startswith("top1 ↑ ")
    assert all(len(line) <= 80 for line in lines)
    assert sum(">= " in line for line in lines) == 4  # each requirement on one line
    assert f"in out{os.sep}" in lines[-1]


def test_what_cannot_be_read_is_told(onnxcam: Run, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 8)
    for number in range(5):
        (folder / f"0000{number}.png").write_bytes(b"no image")
    ran = onnxcam("validate", SHAPES, SHAPES, folder, folder / "00007.png", "-o", "out")
    assert ran.code == 0
    warnings = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
    assert len([line for line in warnings if "00000.png" in line or "00002.png" in line]) == 2
    assert "warning: left out: 2 more that cannot be read; the report names them" in warnings
    assert "warning: 1 of the 9 images are duplicates; each counts once" in warnings
    strict = onnxcam("validate", SHAPES, SHAPES, folder, "-o", "other", "--strict")
    assert strict.code == 2
    assert "00000.png: is not an image" in strict.err


def test_a_folder_is_overwritten_only_if_told(onnxcam: Run, far: Path) -> None:
    for words, code, message in (
        ([], 0, "passed on 1 image: all requirements hold"),
        ([], 2, "error: 'out' holds a finished validation; choose another folder with -o, or --overwrite that one"),
        (["--overwrite"], 0, "passed on 1 image"),
    ):
        ran = onnxcam("validate", SHAPES, SHAPES, PICTURES[0], "-o", "out", *words)
        assert (ran.code, ran.err.splitlines()[-1][: len(message)]) == (code, message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-r", "iou>=0.6,topp1>=1"], "error: the requirement does not parse: no metric is called 'topp1'; there are"),
        (["--truth", "none"], "error: truth 'none' does not exist"),
        (["--target", "nothing"], "error: no class is named 'nothing'"),
        (["-m", "gradcamm"], f"error: the reference '{SHAPES}': no method is called 'gradcamm'"),
    ],
)
def test_bad_words(onnxcam: Run, words: list[str], message: str) -> None:
    ran = onnxcam("validate", SHAPES, SHAPES, PICTURES[0], "-o", "out", *words)
    assert ran.code == 2
    assert ran.err.startswith(message)
    if words[0] == "-r":
        assert ran.err.splitlines()[1:] == ["  iou>=0.6,topp1>=1", f"  {' ' * 9}^"]


def test_without_pictures(onnxcam: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = onnxcam("validate", SHAPES, SHAPES, "empty")
    assert ran.code == 2
    assert ran.err.startswith("error: empty: the folder has no image")
