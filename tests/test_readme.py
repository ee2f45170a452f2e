"""What README says is so: commands and options exist, its Python runs, counts and extras are the project's."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer

from onnxcam.cli import app
from tests.docs_pages import DOCS
from tests.readme_claims import CLAIMS

ROOT = DOCS.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
OWN = DOCS / "add-a-command.md"
"""A page with a command of its own; tests/test_guides.py runs it."""
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMANDS = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
NUMBERS = {"nineteen": 19, "twenty": 20, "twenty-one": 21, "twenty-two": 22}


def commands(page: Path) -> list[str]:
    """The commands of a page: in its blocks, and in code within its text."""
    text = page.read_text("utf-8")
    blocks = "\n".join(block for kind, block in BLOCK.findall(text) if kind != "python")
    within = re.findall(r"`(onnxcam [^`]+)`", BLOCK.sub("", text).replace("\n", " "))
    return [*(line.strip() for line in blocks.replace("\\\n", " ").splitlines()), *within]


def unknown(line: str) -> list[str]:
    """Return the command of *line*, or its options, that onnxcam does not have."""
    if (found := re.match(r"onnxcam ([a-z-]+)(.*)", line.split(" # ")[0])) is None:
        return []
    if (command := COMMANDS.get(found[1])) is None:
        return [line]
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}
    try:
        words = shlex.split(found[2])
    except ValueError:  # a quotation that goes on in the next line
        words = found[2].split()
    given = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [f"{line}: {word}" for word in given if word not in known]


def test_the_commands_and_options_of_all_pages_exist() -> None:
    lines = [line for page in PAGES if page != OWN for line in commands(page)]
    assert sum(line.startswith("onnxcam ") for line in lines) > 200
    assert [wrong for line in lines for wrong in unknown(line)] == []
    assert unknown("onnxcam explain m.onnx --tagret cat") == ["onnxcam explain m.onnx --tagret cat: --tagret"]


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the class of the demo's network in place of *tabby*."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "onnxcam/assets/shapes.onnx", "model.onnx")
    shutil.copy(ROOT / "onnxcam/assets/shapes_1.png", "img.jpg")
    scope: dict[str, Any] = {"x": np.zeros((2, 3, 96, 96), np.float32)}
    blocks = [block for kind, block in BLOCK.findall(README) if kind == "python"]
    for block in blocks:
        exec(compile(block.replace("tabby", "star"), "README.md", "exec"), scope)
    assert len(blocks) == 2
    assert scope["explanation"].map.shape == (288, 288)
    onnx.checker.check_model(scope["gradient"])


def test_counts_and_extras() -> None:
    said = re.search(r"ground truth of ([\w-]+) small networks", README)
    rows = json.loads((DOCS / "truth.json").read_text("utf-8")).values()
    assert said is not None
    assert NUMBERS[said[1]] == len({row["network"] for row in rows})
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    text = "".join(page.read_text("utf-8") for page in PAGES)
    named = {extra for names in re.findall(r'"\.\[([\w,-]+)\]"', text) for extra in names.split(",")}
    assert named - extras.keys() == set()
    assert {"cpu", "gpu", "text", "batch"} <= named


@pytest.mark.parametrize(("claim", "proof"), CLAIMS.items())
def test_a_claim_has_its_test(claim: str, proof: str) -> None:
    name, _, function = proof.partition("::")
    assert claim in " ".join(README.split())
    assert f"def {function}(" in (ROOT / "tests" / name).read_text("utf-8")


def test_the_first_line_is_a_command() -> None:
    """The entry point that makes it true is pipx's."""
    first = README.partition("\n\n")[2].splitlines()[:3]
    assert first == ["```", "pipx run onnxcam demo", "```"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["entry-points"]["pipx.run"]["onnxcam"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    module, _, function = project["scripts"]["onnxcam"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_neither_pytorch_nor_tensorflow_is_imported(tmp_path: Path) -> None:
    assets = ROOT / "onnxcam" / "assets"
    program = f"""
import sys
sys.modules |= dict.fromkeys(("torch", "tensorflow", "keras", "jax"))  # None: their import fails
import onnxcam
onnxcam.explain({str(assets / "shapes.onnx")!r}, {str(assets / "shapes_1.png")!r}).save("out")
onnxcam.autodiff.vjp({str(assets / "shapes.onnx")!r}, outputs=["logits"], inputs=["image"])
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_the_cost_of_gradcam_is_the_measured_one() -> None:
    """Of every network of the benchmark, within a tenth of plain inference."""
    page = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    ratios = re.findall(r"^\| Grad-CAM graph / plain inference \|[^|]*\|[^|]*\| ([\d.]+) × ", page, re.MULTILINE)
    assert len(ratios) >= 2
    assert all(float(ratio) <= 1.1 for ratio in ratios)


def test_every_action_is_pinned_by_its_commit() -> None:
    files = [*(ROOT / ".github" / "workflows").glob("*.yml"), ROOT / "action.yml"]
    used = [line for file in files for line in re.findall(r"uses: (?!\./)(.*)", file.read_text("utf-8"))]
    assert len(used) > 10
    assert [line for line in used if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v[\d.]+", line)] == []
