"""The first command of a page runs from a checkout: the lines above it copy or make its files."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import Ran
from tests.docs_pages import DOCS

ROOT = DOCS.parent
PAGES = {"signals.md": 2, "video.md": 1, "words.md": 0, "volumes.md": 0, "decoders.md": 0}
"""The number of commands that are run; those of the other pages run elsewhere."""


@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_the_first_command_are_made(page: str, onnxcam: Callable[..., Ran]) -> None:
    if page == "volumes.md":
        pytest.importorskip("nibabel")
    for name in ("models", "onnxcam"):
        Path(name).symlink_to(ROOT / name)
    (block,) = re.findall(r"^```\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)[:1]
    commands = [shlex.split(line) for line in block.splitlines()]
    for words in commands:
        if words[0] == "cp":
            *sources, to = [word for word in words[1:] if word != "-r"]
            for source in sources:
                copy = shutil.copytree if Path(source).is_dir() else shutil.copy
                copy(source, to)
        elif words[0] == "python":
            exec(compile(words[2], page, "exec"), {})
    ran = [words[1:] for words in commands if words[0] == "onnxcam"]
    assert all(Path(name).exists() for name in ran[0][1:3])
    for words in ran[: PAGES[page]]:
        done = onnxcam(*words)
        assert done.code == 0, done.err
