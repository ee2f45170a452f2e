"""Files of other tools beside a model, such as Hugging Face's config.json."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from onnxcam import paths
from onnxcam.errors import ModelError
from onnxcam.metadata import block_yaml

__all__ = ["beside"]


def beside(path: Path | None, name: str) -> dict[str, Any]:
    """Return the JSON or YAML object in the file *name* beside the model at *path*, or one folder above; else empty.

    One folder above, because Hugging Face repositories keep the model in ``onnx/`` and its files at the top.
    """
    folders = [] if path is None else list(path.absolute().parents[:2])
    for folder in folders:
        with suppress(ModelError):
            return _object(paths.read_text(folder / name, ModelError, name), name)
    return {}


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        value = block_yaml.parse(text) if name.endswith((".yml", ".yaml")) else json.loads(text)
    except (ValueError, SyntaxError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
