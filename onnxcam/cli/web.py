"""``onnxcam web``: write the web page as static files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = Path("site"),
    model: options.BakedOption = None,
    runtime: options.RuntimeOption = None,
    webgpu: options.WebgpuOption = False,
    title: Annotated[str | None, typer.Option(help="Title of the page.", show_default=False)] = None,
    logo: Annotated[Path | None, typer.Option(help="Logo: SVG, PNG, WebP or JPEG.", show_default=False)] = None,
    style: Annotated[Path | None, typer.Option(help="CSS file, read after the page's own.", show_default=False)] = None,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Write the web page for baked models. The browser runs them; no data leaves it."""
    from onnxcam.web.site import build
    from onnxcam.web.themes import Theme

    theme = Theme(title, logo, style)
    folder = build(output, model=model, runtime=runtime, theme=theme, webgpu=webgpu, overwrite=overwrite)
    typer.echo(f"{folder}: serve it with any web server, for example `python -m http.server -d {folder}`")
