"""Run the Python and the commands of a page of docs/."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from tests.command import Ran

Run = Callable[..., Ran]
DOCS = Path(__file__).parents[1] / "docs"
PICTURE = Path(str(resources.files("onnxcam") / "assets" / "shapes_1.png"))


def follow(page: str, onnxcam: Run) -> list[list[str]]:
    """Do what *page* says, in order, in the current folder; return the commands that were run."""
    ran, scope = [], {"__name__": page}
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if kind == "python":
            exec(compile(block, page, "exec"), scope)
            continue
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] == "onnxcam":
                done = onnxcam(*words[1:])
                assert done.code == 0, f"{page}: {line}: {done.err}"
                ran.append(words)
    return ran
