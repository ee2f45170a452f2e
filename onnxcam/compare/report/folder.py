"""Folder of a validation: its reports, validation.json, report.html and junit.xml, written atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from onnxcam import files
from onnxcam.compare.report.html import html
from onnxcam.compare.report.junit import junit
from onnxcam.errors import OutputError
from onnxcam.text import to_json

if TYPE_CHECKING:
    from onnxcam.compare.validation import Validation

__all__ = ["JUNIT", "PAGE", "RESULT", "refuse_finished", "save"]

RESULT, PAGE, JUNIT = "validation.json", "report.html", "junit.xml"


def save(validation: Validation, directory: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
    """Write the reports of *validation* to *directory*; return their paths.

    Each file is written atomically, validation.json last.

    Raises:
        OutputError: a file cannot be written; or, without *overwrite*, the folder holds a finished validation or
            reports of other origin.
    """
    folder = Path(directory)
    refuse_finished(folder, overwrite)
    writers = {PAGE: html, JUNIT: junit, RESULT: _json}
    with files.writing(folder, "into "):
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in writers.items():
            with files.drafted(folder / name, name) as draft:
                draft.write_text(write(validation), "utf-8", "backslashreplace")
    return [folder / name for name in writers]


def refuse_finished(folder: Path, overwrite: bool) -> None:
    """Raise OutputError if *folder* holds a finished validation or reports of other origin, unless *overwrite*."""
    if os.path.exists(folder / RESULT) and not overwrite:
        raise OutputError(
            f"'{folder}' holds a finished validation; choose another folder with -o, or --overwrite that one"
        )
    for name in (PAGE, JUNIT):
        files.require_writable(folder / name, overwrite=overwrite)


def _json(validation: Validation) -> str:
    return to_json(validation.as_dict()) + "\n"
