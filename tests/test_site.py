"""The site of docs/: its order has every page, links move with the pages, and what commands write is up to date."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import pytest

import onnxcam as package
from onnxcam.methods import METHODS
from tests.command import Ran
from tests.docs_pages import DOCS
from tools import gallery, method_runs, methods_page, site

ROOT = DOCS.parent


def nav() -> list[str]:
    """The pages of mkdocs.yml in their order."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    return re.findall(r": ([\w/.-]+\.md)$", text[text.index("nav:") : text.index("theme:")], re.MULTILINE)


def test_the_nav_has_every_page_once() -> None:
    places = [place for place in site.pages().values() if place.endswith(".md") and not place.startswith("decisions/")]
    made = ["decisions.md", *(f"api/{page}.md" for page in site.API)]
    assert sorted(nav()) == sorted([*places, *made])


def test_links_move_with_the_pages() -> None:
    places = site.pages()
    text = "[a](docs/bake.md#x) [docs/bake.md](docs/bake.md) [l](LICENSE) [w](https://x.org) [h](#h)"
    title = site.title(DOCS / "bake.md")
    moved = f"[a](bake.md#x) [{title}](bake.md) [l]({site.SOURCE}LICENSE) [w](https://x.org) [h](#h)"
    assert site.moved(text, "README.md", places) == moved
    assert site.moved("![p](../docs/images/demo.png)", "models/README.md", places) == "![p](images/demo.png)"
    decision = next(name for name in places if name.startswith("docs/decisions/"))
    assert site.moved("[r](../../README.md#methods)", decision, places) == "[r](../index.md#methods)"


def test_lists_and_tables_are_those_of_github() -> None:
    code = "```yaml\na:\n  - b\n```\n"
    assert site.spaced(f"- a\n  - b\n{code}<!-- c -->\n| d |\n") == f"- a\n    - b\n{code}<!-- c -->\n\n| d |\n"


def test_the_reference_has_every_public_name() -> None:
    shown = [resolve_name(name) for _, *rows in site.API.values() for row in rows for name in row]
    assert [name for name in package.__all__ if getattr(package, name) not in shown] == ["converters"]  # re-exported
    assert resolve_name("onnxcam_converters") in shown


def test_versions_are_listed_newest_first(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.10.0rc1", "other"):
        (tmp_path / version).mkdir()
        if version != "other":
            (tmp_path / version / "index.html").touch()
    site.list_versions(tmp_path)
    listed = [row["version"] for row in json.loads((tmp_path / "versions.json").read_text("utf-8"))]
    assert listed == ["0.10.0", "0.10.0rc1", "0.9.0"]
    assert "url=0.10.0/" in (tmp_path / "index.html").read_text("utf-8")


def test_choose_a_method_is_up_to_date() -> None:
    """If not: `python -m tools.methods_page`, with --measure if a method or a default is new."""
    assert methods_page.PAGE.read_text("utf-8") == methods_page.current()
    measured = json.loads(methods_page.MEASURED.read_text("utf-8"))
    assert measured["runs"].keys() == {id for id, method in METHODS.items() if not method.in_graph}
    assert set(methods_page.TASKS.values()) == {row["network"] for row in _truth()}
    for method in ("ablationcam", "occlusion", "integrated-gradients"):
        assert method_runs.runs(method) == measured["runs"][method]


def test_the_default_of_a_task_is_the_one_of_the_page() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    assert method_runs.default("reader") == json.loads(methods_page.MEASURED.read_text("utf-8"))["defaults"]["reader"]


def _truth() -> list[dict[str, str]]:
    return list(json.loads((DOCS / "truth.json").read_text("utf-8")).values())


def test_methods_without_a_gradient_are_marked() -> None:
    free = {id for id, method in METHODS.items() if methods_page.gradient_free(method)}
    page, readme = ((DOCS / name).read_text("utf-8") for name in ("methods.md", "../README.md"))
    assert set(re.findall(r"^\| `([a-z+-]+)` °", page, re.MULTILINE)) == free
    said = re.findall(r"^\| (?:any black box|concepts) \|.*|without a gradient .*", readme, re.MULTILINE)
    assert set(re.findall(r"`([a-z+-]+)`", " ".join(said))) == free


def test_the_gallery_has_every_method_and_its_pictures() -> None:
    page = gallery.PAGE.read_text("utf-8")
    shown = re.findall(r"!\[([^]]*)\]\((images/[\w.-]+)\)", page)
    methods = {name for names, _ in shown for name in names.split(", ")}
    assert [id for id in METHODS if id not in methods] == gallery.ELSEWHERE
    assert all((DOCS / picture).is_file() for _, picture in shown)


def test_the_tour_runs(onnxcam: Callable[..., Ran], folder: Path) -> None:
    """All of it; the two models that it compares are the same."""
    text = (DOCS / "tour.md").read_text("utf-8")
    commands, scope = 0, {"__name__": "tour"}
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if kind == "python":
            exec(compile(block, "tour.md", "exec"), scope)
            continue
        for line in block.splitlines():
            program, *words = line.split()
            if program == "cp":
                shutil.copy(ROOT / words[0], words[1])
                continue
            done = onnxcam(*words)
            assert done.code == 0, f"{line}: {done.err}"
            commands += 1
    assert commands == 5
    assert all(Path(name).exists() for name in ("sheet.png", "methods.png", "out", "explained.onnx", "report"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two models and photos for the tour's last command."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    for name in ("float.onnx", "int8.onnx"):
        shutil.copy(ROOT / "onnxcam/assets/shapes.onnx", name)
    Path("photos").mkdir()
    shutil.copy(ROOT / "onnxcam/assets/shapes_2.png", "photos")
    return tmp_path
