"""``onnxcam serve``: run the web page on this machine."""

from __future__ import annotations

import contextlib
import tempfile
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: options.BakedOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    runtime: options.RuntimeOption = None,
    webgpu: options.WebgpuOption = False,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show baked models in the browser. The page is served on localhost only."""
    import webbrowser

    from onnxcam.web.server import server
    from onnxcam.web.site import build

    with tempfile.TemporaryDirectory(prefix="onnxcam-") as folder, server(folder, port) as running:
        build(folder, model=model, runtime=runtime, webgpu=webgpu)
        url = f"http://localhost:{running.server_port}/"
        typer.echo(f"{url} (Ctrl+C ends it)")
        if browser:
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):
            running.serve_forever()
