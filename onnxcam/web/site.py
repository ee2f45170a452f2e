"""Write the web page as static files: the page, onnxruntime-web, an example, and optionally models and a theme."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
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
from onnxcam.web import themes

__all__ = ["EXAMPLE", "INDEX", "MODEL", "RUNTIME", "build"]

EXAMPLE = {"model": "example.onnx", "picture": "example.png"}
MODEL = "model.onnx"
INDEX, RUNTIME = "site.json", "runtime"


def build(
    directory: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    runtime: str | os.PathLike[str] | None = None,
    theme: themes.Theme | None = None,
    webgpu: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the page to *directory*, to be served by any web server, and return the folder.

    Args:
        directory: Output folder; files of an older page are replaced, others are kept.
        model: Baked model to open when the page loads; of several the first, and a picker offers the others.
        runtime: npm package onnxruntime-web, as a folder or .tgz. Default: download the pinned release once from the
            npm registry and cache it.
        theme: Title, logo and style of the page. What it leaves out stays as in an older page in *directory*.
        webgpu: Add the build of onnxruntime-web that uses WebGPU where the browser has it (27 MB).
        overwrite: Also replace files that onnxcam did not write.

    Raises:
        ModelError: a *model* is not baked, or two have the same name.
        RuntimeFilesError: a file of *theme* is missing, or of a kind that the page cannot show.
        RuntimeFilesError: onnxruntime-web is not available.
        OutputError: the folder cannot be written.
    """
    folder = Path(directory)
    given = _models([model] if isinstance(model, str | os.PathLike) else model or [])
    theme = (theme or themes.Theme()).over(themes.written(folder, INDEX))
    engine = webruntime.files(runtime, webgpu=webgpu)
    with files.StagedFolder(folder, INDEX, overwrite=overwrite) as new:
        _write(new.staging, _page())
        _write(new.staging, theme.contents())
        (new.staging / RUNTIME).mkdir()
        _write(new.staging / RUNTIME, engine)
        _write(new.staging, {entry["file"]: data for entry, data in given})
        _example(new.staging)
        listed = _contents([entry for entry, _ in given], theme)
        names = sorted(path.relative_to(new.staging).as_posix() for path in new.staging.rglob("*") if path.is_file())
        _write(
            new.staging, {INDEX: json.dumps({**listed, "webgpu": webgpu, "files": [*names, INDEX]}, indent=1).encode()}
        )
    return folder


def _models(paths: Sequence[str | os.PathLike[str]]) -> list[tuple[dict[str, Any], bytes]]:
    """Return for each model what the index says of it, and its bytes."""
    names = [Path(path).name for path in paths]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ModelError(f"two models are called {twice}, which a reader cannot tell apart; rename one of the files")
    return [(_entry(index, Path(path).name, local(path)), local(path).read_bytes()) for index, path in enumerate(paths)]


def _entry(index: int, name: str, path: Path) -> dict[str, Any]:
    stamp = load(path).metadata_props.get(BAKED)
    if stamp is None:
        raise ModelError(
            f"{path} is not baked; run `onnxcam bake {path} -o explained.onnx --target input` and give that"
        )
    told = json.loads(stamp)
    file = MODEL if index == 0 else MODEL.replace(".", f"-{index + 1}.")
    return {"file": file, "name": name, "method": told.get("method"), "layer": told.get("layer")}


def _page() -> dict[str, bytes]:
    files = resources.files("onnxcam").joinpath("web/page").iterdir()
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def _example(folder: Path) -> None:
    """Write the example: the model that comes with onnxcam, baked, and an image."""
    assets = resources.files("onnxcam").joinpath("assets")
    bake(assets.joinpath("shapes.onnx").read_bytes(), folder / EXAMPLE["model"], target="input", inside=True)
    _write(folder, {EXAMPLE["picture"]: assets.joinpath("shapes_1.png").read_bytes()})


def _contents(models: Sequence[dict[str, Any]], theme: themes.Theme) -> dict[str, Any]:
    """Return the index that the page reads first: its files, and the colour maps, 256 × RGBA in base64."""
    tables = {name: _rgba(name).tobytes() for name in colours.COLORMAPS}
    return {
        "onnxcam": __version__,
        "runtime": f"onnxruntime-web {webruntime.VERSION}",
        "model": {key: models[0][key] for key in ("file", "name")} if models else None,
        "others": list(models[1:]),
        "theme": theme.names(),
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
