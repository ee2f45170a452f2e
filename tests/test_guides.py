"""The pages docs/add-a-*.md are true: their files and commands run as written, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
CONTRIBUTORS = [ROOT / "CONTRIBUTING.md", DOCS / "doors.md", *sorted(DOCS.glob("add-a-*.md"))]
ASSETS = ROOT / "onnxcam" / "assets"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ONNXCAM = [sys.executable, "-c", "from onnxcam.cli import main; main()"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the model and the image that the pages name."""
    shutil.copy(ASSETS / "shapes.onnx", tmp_path / "model.onnx")
    shutil.copy(ASSETS / "shapes_1.png", tmp_path / "img.jpg")
    return tmp_path


def follow(page: str, folder: Path) -> list[str]:
    """Write the files of *page*, whose first line names them, and run its commands; return what each printed."""
    printed = []
    for kind, block in BLOCK.findall((DOCS / page).read_text("utf-8")):
        if kind == "python":
            name, text = block.split("\n", 1)
            (folder / name.removeprefix("# ")).write_text(text, "utf-8")
        elif kind == "":
            printed += [shell(line, folder) for line in block.splitlines()]
    return printed


def shell(line: str, folder: Path) -> str:
    """Run one command in *folder*, whose files come before the installed ones; return what it printed."""
    program, *words = shlex.split(line)
    command = {"python": [sys.executable], "onnxcam": ONNXCAM}[program]
    paths = os.pathsep.join(map(str, (folder, ROOT, ROOT / "converters")))
    ran = subprocess.run(
        [*command, *words], cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert ran.returncode == 0, f"{line}\n{ran.stderr}"
    return ran.stdout


def test_add_a_rule(folder: Path) -> None:
    assert follow("add-a-rule.md", folder) == ["the rules are right\n", "['Relu', 'Mul']\n"]


def test_add_a_method(folder: Path) -> None:
    assert [len(out.splitlines()) for out in follow("add-a-method.md", folder)] == [2, 2, 2]
    assert len(list(folder.glob("out*/*.json"))) == 3


def test_add_a_metric(folder: Path) -> None:
    (out,) = follow("add-a-metric.md", folder)
    assert out.splitlines()[1].startswith("spread\t")
    assert (folder / "out" / "evaluation.json").is_file()


def test_add_a_converter(folder: Path) -> None:
    proof, explained = follow("add-a-converter.md", folder)
    assert {line.rpartition(" ")[0] for line in proof.splitlines()} == {
        "output logits",
        "activation features",
        "gradient features",
        "input gradient image",
    }
    assert "dog" in explained


def test_add_a_command(folder: Path) -> None:
    """In a copy of the package, in which the two places that the page names are edited."""
    shutil.copytree(ROOT / "onnxcam", folder / "onnxcam", ignore=shutil.ignore_patterns("__pycache__"))
    start = folder / "onnxcam" / "cli" / "__init__.py"
    text = start.read_text("utf-8").replace("    web,\n)", "    web,\n    weights,\n)")
    start.write_text(re.sub(r"(_COMMANDS = \([^)]*),\s*\)", r"\1, weights)", text), "utf-8")
    usage, counted = follow("add-a-command.md", folder)
    assert "Count the weights of MODEL." in usage
    assert re.fullmatch(r'\{\s*"weights": \d{4,}\s*\}\n', counted)


def test_contributing_links_every_page_of_this_kind() -> None:
    pages = {page.name for page in DOCS.glob("add-a-*.md")}
    linked = set(re.findall(r"docs/(add-a-[\w-]+\.md)", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    assert pages <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            assert heading in map(_anchor, re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)), link


@pytest.mark.parametrize("page", CONTRIBUTORS, ids=lambda page: page.name)
def test_paths_are_those_of_files(page: Path) -> None:
    text = page.read_text("utf-8")
    made = re.findall(r"^# (\S+\.py)$", text, re.MULTILINE)  # the page's own files
    named = re.findall(r"(?<![\w./-])(?:onnxcam|tests|tools|docs|benchmarks|converters)/[\w/.-]*\w", text)
    assert [path for path in named if not (path in made or (ROOT / path).exists() or "FRAMEWORK" in path)] == []


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_the_table_of_rooms_has_the_order_that_is_checked() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = page[page.index("| room |") :].split("\n\n")[0].splitlines()[2:]
    told = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in rows]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert told == [set(layer.split(" | ")) for layer in reversed(layers)]
