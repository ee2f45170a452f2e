"""Folder of a validation: reports for people, CI systems, pull requests and programs, written atomically."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from onnxcam import files
from onnxcam.compare.report.html import html
from onnxcam.compare.report.junit import junit
from onnxcam.compare.report.markdown import markdown
from onnxcam.compare.report.worst import worst_picture
from onnxcam.text import to_json

if TYPE_CHECKING:
    from onnxcam.compare.validation import Validation

__all__ = ["JUNIT", "PAGE", "PICTURE", "RESULT", "SUMMARY", "refuse_finished", "save"]

RESULT, PAGE, JUNIT = "validation.json", "report.html", "junit.xml"
SUMMARY, PICTURE = "summary.md", "worst.png"


def save(validation: Validation, directory: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
    """Write the reports of *validation* to *directory*; return their paths.

    Each file is written atomically, validation.json last.

    Raises:
        OutputError: a file cannot be written; or, without *overwrite*, the folder holds a finished validation or
            reports of other origin.
    """
    folder = Path(directory)
    refuse_finished(folder, overwrite)
    writers: dict[str, Callable[[Validation], str | bytes]] = {
        PAGE: html,
        JUNIT: junit,
        SUMMARY: markdown,
        PICTURE: worst_picture,
        RESULT: _json,
    }
    with files.writing(folder, "into "):
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in writers.items():
            with files.drafted(folder / name, name) as draft:
                made = write(validation)
                draft.write_bytes(made if isinstance(made, bytes) else made.encode("utf-8", "backslashreplace"))
    return [folder / name for name in writers]


def refuse_finished(folder: Path, overwrite: bool) -> None:
    """Raise OutputError if *folder* holds a finished validation or reports of other origin, unless *overwrite*."""
    files.refuse_finished(folder, RESULT, "a finished validation", overwrite=overwrite)
    for name in (RESULT, PAGE, JUNIT, SUMMARY, PICTURE):
        files.require_writable(folder / name, overwrite=overwrite)


def _json(validation: Validation) -> str:
    return to_json(validation.as_dict()) + "\n"
