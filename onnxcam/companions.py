"""What travels with a model: metadata that onnxcam wrote into it, JSON files that others keep beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METADATA_KEY = "onnxcam"
SCHEMA = 1


def own(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what onnxcam itself wrote into the model, empty where there is nothing that this version can read.

    That is ``{"schema": 1, "task": str, "preprocess": str, "labels": [str]}``; all but the schema may be missing.
    """
    found = _object(metadata.get(METADATA_KEY, ""))
    return found if found.get("schema") == SCHEMA else {}


def beside(path: Path | None, name: str) -> dict[str, Any]:
    """Return the JSON object in the file *name* beside the model at *path*, or one folder above; else empty.

    One folder above, because Hugging Face repositories keep the model in ``onnx/`` and its files at the top.
    """
    folders = [] if path is None else list(path.absolute().parents[:2])
    for folder in folders:
        try:
            return _object((folder / name).read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    return {}


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
