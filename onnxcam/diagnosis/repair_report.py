"""The report folder of a repair: repair.json, and the nodes to keep in float for other quantisers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxcam.diagnosis.keep_float import FORMATS
from onnxcam.diagnosis.repair_result import Repair
from onnxcam.files import StagedFolder, is_ours, refuse_finished, writing
from onnxcam.paths import PathLike
from onnxcam.text import to_json

__all__ = ["INDEX", "save_report"]

INDEX = "repair.json"


def save_report(
    found: Repair, directory: PathLike, formats: Sequence[str] = ("ort",), *, overwrite: bool = False
) -> list[Path]:
    """Write repair.json and the lists in the *formats* (`onnxcam.diagnosis.keep_float`); return the files.

    With *overwrite*, lists of an earlier repair in this folder are removed.

    Raises:
        OutputError: the folder cannot be written, or, without *overwrite*, holds a repair or files of other origin with
            the same names.
    """
    refuse_finished(directory, INDEX, "a finished repair", overwrite=overwrite)
    lists = [found.keep.written(name) for name in formats] if found.keep.nodes else []
    contents = {INDEX: to_json(found.as_dict()) + "\n", **dict(lists)}
    stale = _lists_in(Path(directory)) - set(contents)
    with StagedFolder(directory, INDEX, overwrite=overwrite) as folder:
        for name, text in contents.items():
            (folder.staging / name).write_text(text, "utf-8")
    with writing(Path(directory), "into "):
        for name in stale:
            (Path(directory) / name).unlink(missing_ok=True)
    return [Path(directory) / name for name in contents]


def _lists_in(folder: Path) -> set[str]:
    """Return the names of the lists in *folder*, if its repair.json is one of onnxcam."""
    return {name for name, _ in FORMATS.values() if (folder / name).is_file()} if is_ours(folder / INDEX) else set()
