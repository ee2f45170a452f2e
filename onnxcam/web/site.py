"""Write the web page as static files: the page, onnxruntime-web, an example, and optionally a model."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import __version__, files
from onnxcam.bake.bake import bake
from onnxcam.errors import ModelError
from onnxcam.graph.io import load
from onnxcam.hub import local
from onnxcam.media import colours
from onnxcam.metadata.reserved import BAKED
from onnxcam.web import runtime as webruntime

__all__ = ["EXAMPLE", "INDEX", "MODEL", "RUNTIME", "build"]

EXAMPLE = {"model": "example.onnx", "picture": "example.png"}
MODEL = "model.onnx"
INDEX, RUNTIME = "site.json", "runtime"


def build(
    directory: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    runtime: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page to *directory*, to be served by any web server, and return the folder.

    Args:
        directory: Output folder; files of an older page are replaced, others are kept.
        model: Baked model to open when the page loads.
        runtime: npm package onnxruntime-web, as a folder or .tgz. Default: download the pinned release once from the
            npm registry and cache it.
        overwrite: Also replace files that onnxcam did not write.

    Raises:
        ModelError: *model* is not baked.
        RuntimeFilesError: onnxruntime-web is not available.
        OutputError: the folder cannot be written.
    """
    folder = Path(directory)
    given = None if model is None else _baked(local(model))
    engine = webruntime.files(runtime)
    with files.StagedFolder(folder, INDEX, overwrite=overwrite) as new:
        _write(new.staging, _page())
        (new.staging / RUNTIME).mkdir()
        _write(new.staging / RUNTIME, engine)
        if given is not None:
            _write(new.staging, {MODEL: given})
        _example(new.staging)
        _write(new.staging, {INDEX: json.dumps(_contents(model), indent=1).encode()})
    return folder


def _baked(path: Path) -> bytes:
    if BAKED not in load(path).metadata_props:
        raise ModelError(
            f"{path} is not baked; run `onnxcam bake {path} -o explained.onnx --target input` and give that"
        )
    return path.read_bytes()


def _page() -> dict[str, bytes]:
    files = resources.files("onnxcam").joinpath("web/page").iterdir()
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def _example(folder: Path) -> None:
    """Write the example: the model that comes with onnxcam, baked, and an image."""
    assets = resources.files("onnxcam").joinpath("assets")
    bake(assets.joinpath("shapes.onnx").read_bytes(), folder / EXAMPLE["model"], target="input", inside=True)
    _write(folder, {EXAMPLE["picture"]: assets.joinpath("shapes_1.png").read_bytes()})


def _contents(model: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Return the index that the page reads first: its files, and the colour maps, 256 × RGBA in base64."""
    tables = {name: _rgba(name).tobytes() for name in colours.COLORMAPS}
    return {
        "onnxcam": __version__,
        "runtime": f"onnxruntime-web {webruntime.VERSION}",
        "model": None if model is None else {"file": MODEL, "name": Path(model).name},
        "example": EXAMPLE,
        "colours": {name: base64.b64encode(table).decode() for name, table in tables.items()},
    }


def _rgba(name: str) -> NDArray[np.uint8]:
    """Return the colours of a map, each as strong as it is drawn by value, [256, 4]."""
    strength = np.round(255 * colours.weights(name)).astype(np.uint8)
    return np.concatenate([colours.table(name), strength[:, None]], axis=1)


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    with files.writing(folder):
        for name, data in contents.items():
            (folder / name).write_bytes(data)
