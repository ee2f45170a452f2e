"""Folder of an audit: report.html, findings.json and fiftyone/, written atomically."""

from __future__ import annotations

import os
from pathlib import Path

from onnxcam import files
from onnxcam.auditing.audit import Audit
from onnxcam.auditing.fiftyone import samples
from onnxcam.auditing.report import html
from onnxcam.text import to_json

__all__ = ["FINDINGS", "PAGE", "SAMPLES", "require_free", "save"]

FINDINGS, PAGE, SAMPLES = "findings.json", "report.html", "fiftyone/samples.json"


def save(
    audit: Audit,
    directory: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write *audit* to *directory*, findings.json last; return the report's path.

    Args:
        audit: What was found.
        directory: Folder to write.
        images: Folder or address that the paths of pictures are relative to.
        overwrite: Replace the audit in *directory*.

    Raises:
        OutputError: Jinja is not installed, a file cannot be written, or the folder holds an audit.
    """
    folder = Path(directory)
    require_free(folder, overwrite=overwrite)
    found, maps = samples(audit)
    contents = {f"fiftyone/{name}": data for name, data in maps.items()}
    contents[SAMPLES] = (to_json({"samples": found}) + "\n").encode()
    contents[PAGE] = html(audit, images).encode("utf-8", "backslashreplace")
    contents[FINDINGS] = (to_json(audit.as_dict()) + "\n").encode()
    with files.writing(folder, "into "):
        for name, data in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.drafted(path) as draft:
                draft.write_bytes(data)
    return folder / PAGE


def require_free(folder: Path, *, overwrite: bool = False) -> None:
    """Raise OutputError if *folder* cannot be written, or holds an audit or its files of other origin."""
    files.require_place(folder, folder=True)
    files.refuse_finished(folder, FINDINGS, "an audit", overwrite=overwrite)
    files.require_writable(folder / FINDINGS, overwrite=overwrite)
