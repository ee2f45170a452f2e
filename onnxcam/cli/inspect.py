"""``onnxcam inspect``: what a model is, and what onnxcam would do with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: options.Model,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show inputs, outputs, layers and the methods that apply."""
    from onnxcam.cli import show
    from onnxcam.survey import survey

    found = survey(model)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    say = partial(show.out.print, markup=False, soft_wrap=True)
    say(f"{model}: opset {found.opset}, {found.nodes} nodes, made by {found.producer or 'unknown'}")
    show.table(
        ("", "name", "type", "shape"),
        [(kind, *row) for kind, rows in (("input", found.inputs), ("output", found.outputs)) for row in rows],
    )
    say(f"\noperators: {', '.join(f'{name} {count}' for name, count in found.operators.items())}")
    if found.scores:
        say(f"scores: {found.scores}")
    for targets in found.targets:
        say(f"targets, as {targets}")
    say(f"preprocessing: {found.preprocess}")
    for warning in found.warnings:
        say(f"warning: {warning}", style="yellow")
    if found.layers:
        say(f"\nlayers, the one that auto takes first ({found.reason}):")
        show.table(("layer", "tensor", "size"), found.layers)
    say("\nmethods:")
    show.table(("id", "", ""), [(name, "yes" if not why else "no", why) for name, why in found.methods.items()])
