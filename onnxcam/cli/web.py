"""``onnxcam web``: the page as a folder of static files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("site"),
    model: options.Baked = None,
    runtime: options.Runtime = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write the page for baked models. It runs them in the browser; nothing leaves the device that shows it."""
    from onnxcam.web.site import build

    folder = build(output, model=model, runtime=runtime, overwrite=overwrite)
    typer.echo(f"{folder}: any web server can give it out, `python -m http.server -d {folder}` too")
