"""``onnxcam models``: well-known public models, and how to explain them."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: also the SHA-256, source and recipe.")] = False,
) -> None:
    """List well-known public models. Shows preprocessing, licence and address; downloads nothing.

    Give an address as MODEL of any command (docs/hub.md).
    """
    from onnxcam.cli import show
    from onnxcam.hub.catalogue import MODELS

    if as_json:
        show.json([one.as_dict() for one in MODELS])
        return
    show.table(
        ("model", "# MB", "licence", "preprocess", "address"),
        [
            (one.name, f"{one.megabytes:g}", one.licence or "not said", one.preprocess or "comes along", one.address)
            for one in MODELS
        ],
    )
    show.print_err(f"for example (no entry was run where onnxcam is built): {MODELS[0].recipe}", "dim")
