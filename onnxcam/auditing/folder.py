"""Folder of an audit: report.html, findings.json and fiftyone/, written atomically."""

from __future__ import annotations

import os
from pathlib import Path

from onnxcam import files
from onnxcam.auditing.audit import Audit
from onnxcam.auditing.fiftyone import samples
from onnxcam.auditing.report import html
from onnxcam.errors import OutputError
from onnxcam.text import to_json

__all__ = ["FINDINGS", "PAGE", "SAMPLES", "save"]

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
    if (folder / FINDINGS).exists() and not overwrite:
        raise OutputError(f"'{folder}' holds an audit; choose another folder with -o, or --overwrite that one")
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
