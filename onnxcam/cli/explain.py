"""``onnxcam explain``: which pixels spoke for the class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: options.Model,
    images: Annotated[list[Path], typer.Argument(help="Pictures.", show_default=False)],
    method: Annotated[str, typer.Option("--method", "-m", help="The method's id.")] = "gradcam",
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Class index, label or top; repeatable.", show_default=False),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", "-k", min=1, help="Explain the k best classes.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value, a setting of the method; repeatable.", show_default=False),
    ] = None,
    layer: options.Layer = "auto",
    preprocess: options.Preprocess = None,
    labels: options.Labels = None,
    provider: options.Provider = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("onnxcam-out"),
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Weight of the map in the overlay.")] = 0.5,
    colormap: Annotated[str, typer.Option(help="jet, turbo, viridis, inferno, hot or gray.")] = "jet",
) -> None:
    """Explain pictures: overlays, maps and manifest.json in a folder."""
    from onnxcam.cli import show
    from onnxcam.explainer import Explainer
    from onnxcam.manifest import Folder
    from onnxcam.methods import find_method

    if top is not None and target:
        raise typer.BadParameter("--top and --target exclude each other; give one")
    explainer = Explainer(
        model,
        method=method,
        layer=layer,
        provider=provider,
        preprocess=preprocess,
        labels=labels,
        settings=options.pairs(settings or []),
        progress=show.passes,
    )
    wanted: list[str | None] = [*target] if target else [None]
    with Folder(output) as folder:
        for image in show.progress(images) if find_method(method).in_graph else images:
            found = explainer.best(image, top) if top else [explainer(image, one) for one in wanted]
            for explanation in found:
                folder.add(image, explanation, alpha=alpha, colormap=colormap)
    if as_json:
        typer.echo(json.dumps(folder.entries, indent=2, ensure_ascii=False))
    else:
        show.explanations(folder.entries, output)
    show.notes(explainer.choice, folder.entries)
