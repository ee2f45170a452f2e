"""The report folder of a repair: repair.json, and the nodes to keep in float for other quantisers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxcam.diagnosis.repair_result import Repair
from onnxcam.files import StagedFolder
from onnxcam.paths import PathLike
from onnxcam.text import to_json

__all__ = ["INDEX", "save_report"]

INDEX = "repair.json"


def save_report(
    found: Repair, directory: PathLike, formats: Sequence[str] = ("ort",), *, overwrite: bool = False
) -> list[Path]:
    """Write repair.json and the lists in the *formats* (`onnxcam.diagnosis.keep_float`); return the files.

    Raises:
        OutputError: the folder cannot be written, or holds files of other origin with the same names.
    """
    lists = [found.keep.written(name) for name in formats] if found.keep.nodes else []
    contents = {INDEX: to_json(found.as_dict()) + "\n", **dict(lists)}
    with StagedFolder(directory, INDEX, overwrite=overwrite) as folder:
        for name, text in contents.items():
            (folder.staging / name).write_text(text, "utf-8")
    return [Path(directory) / name for name in contents]
