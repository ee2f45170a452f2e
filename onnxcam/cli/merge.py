"""``onnxcam merge``: join the shards of a run."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    folders: Annotated[
        list[str], typer.Argument(help="Folders, or addresses, that hold all shards of one run.", show_default=False)
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Output folder, or an address.")] = "onnxcam-merged",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove the batch in the output folder.")] = False,
) -> None:
    """Join the shards of a run. The result is that of one run over all pictures, byte for byte.

    Missing parts, parts that are there twice, and parts of another run are refused.
    """
    from dataclasses import asdict

    from onnxcam.batching.merge import merge
    from onnxcam.cli import show

    summary = merge(folders, output, overwrite=overwrite)
    show.json(asdict(summary)) if as_json else show.batch(summary, output)
