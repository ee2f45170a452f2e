"""Folder of a diagnosis: diagnosis.json, diagnosis.html and node data for Model Explorer, written atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from onnxcam import files
from onnxcam.compare.report.page import require
from onnxcam.diagnosis.diagnosis import Diagnosis
from onnxcam.diagnosis.exports import node_data
from onnxcam.diagnosis.places import find_places
from onnxcam.diagnosis.report.html import html
from onnxcam.diagnosis.report.maps import before_and_after
from onnxcam.errors import OutputError
from onnxcam.graph.io import ModelLike, load
from onnxcam.paths import PathLike
from onnxcam.text import to_json

if TYPE_CHECKING:
    from onnxcam.diagnosis.diagnose import Subject

__all__ = ["NODES", "PAGE", "RESULT", "refuse_finished", "save"]

RESULT, PAGE, NODES = "diagnosis.json", "diagnosis.html", "model-explorer.json"


def save(
    diagnosis: Diagnosis, subject: Subject, candidate: ModelLike, directory: PathLike, target: int | str = "top"
) -> list[Path]:
    """Write the reports of *diagnosis* to *directory*; return their paths.

    Each file is written atomically, diagnosis.json last. *subject* draws the maps of *target*, *candidate* is the
    quantised model.

    Raises:
        OutputError: a file cannot be written.
    """
    folder, info = Path(directory), subject.candidate.info
    places = find_places(load(candidate), diagnosis.tensors)
    texts = {
        PAGE: html(diagnosis, info, places, before_and_after(diagnosis, subject, target)),
        NODES: to_json(node_data(diagnosis, candidate)) + "\n",
        RESULT: to_json(diagnosis.as_dict()) + "\n",
    }
    with files.writing(folder, "into "):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with files.drafted(folder / name, name) as draft:
                draft.write_text(text, "utf-8", "backslashreplace")
    return [folder / name for name in texts]


def refuse_finished(directory: PathLike, overwrite: bool) -> None:
    """Raise OutputError if *directory* holds a diagnosis or files of other origin, unless *overwrite*.

    It also raises OutputError if Jinja, which makes the report, is not installed.
    """
    require()
    folder = Path(directory)
    files.refuse_finished(folder, RESULT, "a finished diagnosis", overwrite=overwrite)
    for name in (RESULT, PAGE):
        files.require_writable(folder / name, overwrite=overwrite)
    if os.path.isfile(folder / NODES) and not overwrite:
        raise OutputError(f"'{folder / NODES}' exists; choose another folder with -o, or give --overwrite")
