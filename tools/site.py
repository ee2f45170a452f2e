"""Build the site of docs/: `python tools/site.py` writes build/site, strictly: a warning ends the build.

The pages of docs/ stay where README and messages link them. The builder needs all its pages in one folder, so they
are copied to build/pages together with README (the start page) and the other Markdown of the repository, and links
are changed to match. `--versions FOLDER` builds into FOLDER/VERSION, beside those that are there, and lists all in
FOLDER/versions.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"
SOURCE = "https://github.com/onnxcam/onnxcam/blob/main/"
RENAMED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "models/README.md": "models.md",
}
"""Pages from outside docs/."""
API = {
    "explainer": (
        "Explainer",
        ("onnxcam.explainer.explainer.Explainer", "onnxcam.explainer.explainer.explain"),
        ("onnxcam.explainer.explanation.Explanation", "onnxcam.explainer.sheet.sheet"),
    ),
    "commands": (
        "Commands in Python",
        ("onnxcam.batching.batch.batch", "onnxcam.auditing.audit.audit"),
        ("onnxcam.diagnosis.diagnose.diagnose", "onnxcam.diagnosis.repair.repair"),
    ),
    "autodiff": ("Gradients", ("onnxcam.autodiff",)),
    "converters": ("Converters", ("onnxcam_converters",)),
    "errors": ("Errors", ("onnxcam.errors",)),
    "testing": ("For authors of rules", ("onnxcam.testing",)),
}
"""Pages of the reference: a title and objects, whose docstrings the page shows."""


def pages() -> dict[str, str]:
    """Return the place in the site of every file of the repository that is a part of it."""
    docs = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()]
    return RENAMED | {name: name.removeprefix("docs/") for name in docs}


def moved(text: str, name: str, places: dict[str, str]) -> str:
    """Return the text of the file *name*, with links from its place in the site; paths become titles."""
    here = PurePosixPath(places[name]).parent

    def link(found: re.Match[str]) -> str:
        words, address = found.groups()
        path, sharp, heading = address.partition("#")
        target = os.path.normpath(PurePosixPath(name).parent / path)
        place = places.get(target)
        if place and words == target:
            words = title(ROOT / target)
        return f"[{words}]({os.path.relpath(place, here) if place else SOURCE + target}{sharp}{heading})"

    return re.sub(r"\[([^\[\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)", link, text)


def spaced(text: str) -> str:
    """Return Markdown of GitHub as Python-Markdown reads it: inner lists by four spaces, a line before a table."""
    parts = re.split(r"(^ *```.*?^ *```$)", text, flags=re.MULTILINE | re.DOTALL)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"^ {2,3}(?=- )", "    ", re.sub(r"-->\n(?=\|)", "-->\n\n", parts[i]), flags=re.MULTILINE)
    return "".join(parts)


def title(page: Path) -> str:
    """Return the first heading of a page."""
    return page.read_text("utf-8").split("\n", 1)[0].removeprefix("# ")


def gather() -> None:
    """Write the builder's pages to build/pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    places = pages()
    for name, place in places.items():
        (PAGES / place).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".md"):
            (PAGES / place).write_text(moved(spaced((ROOT / name).read_text("utf-8")), name, places), "utf-8")
        else:
            shutil.copy(ROOT / name, PAGES / place)
    (PAGES / "decisions.md").write_text(_decisions(), "utf-8")
    (PAGES / "api").mkdir()
    for page, (heading, *rows) in API.items():
        objects = "\n\n".join(f"::: {name}" for row in rows for name in row)
        (PAGES / "api" / f"{page}.md").write_text(f"# {heading}\n\n{objects}\n", "utf-8")


def _decisions() -> str:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    rows = [f"- [{title(path)}](decisions/{path.name})" for path in files]
    return "# Decisions\n\nWhy onnxcam is as it is, in the order of time.\n\n" + "\n".join(rows) + "\n"


def build() -> None:
    """Build build/site from build/pages; a warning is an error."""
    shutil.rmtree(SITE, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=True)


def list_versions(folder: Path) -> None:
    """Write versions.json and a page that leads to the newest version."""
    found = sorted(
        (path.parent.name for path in folder.glob("*/index.html")), key=lambda name: [*map(_part, name.split("."))]
    )[::-1]
    (folder / "versions.json").write_text(
        json.dumps([{"version": name, "title": name, "aliases": []} for name in found], indent=1), "utf-8"
    )
    (folder / "index.html").write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={found[0]}/">\n')


def _part(number: str) -> int:
    return int(number) if number.isdigit() else -1


def main() -> None:
    """Gather the pages and build the site."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=Path, metavar="FOLDER", help="the folder of all versions")
    options = parser.parse_args()
    gather()
    build()
    if options.versions is None:
        return
    version = re.findall(r'^__version__ = "(.*)"', (ROOT / "onnxcam/__init__.py").read_text("utf-8"), re.MULTILINE)[0]
    shutil.copytree(SITE, options.versions / version, dirs_exist_ok=True)
    list_versions(options.versions)


if __name__ == "__main__":
    main()
