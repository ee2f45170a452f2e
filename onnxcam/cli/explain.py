"""``onnxcam explain``: which pixels spoke for the class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: options.Model,
    images: options.Images,
    method: Annotated[str, typer.Option("--method", "-m", help="The method's id.")] = "gradcam",
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="What to explain: a class index, a label, top, 281-285, 'not 281', detection=0, box=x1,y1,x2,y2, "
            "class=dog, text=AB12, like=FILE, … (docs/targets.md); repeatable.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", "-k", min=1, help="Explain the k best, classes or detections.", show_default=False),
    ] = None,
    settings: options.Settings = None,
    smooth: Annotated[
        str, typer.Option(help="aug (mirrored, darker, brighter pictures), eigen (principal component), aug+eigen.")
    ] = "none",
    layer: options.Layer = "auto",
    preprocess: options.Preprocess = None,
    labels: options.Labels = None,
    inputs: options.Inputs = None,
    wrt: options.Wrt = None,
    provider: options.Provider = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("onnxcam-out"),
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Weight of the map in the overlay.")] = 0.5,
    colormap: Annotated[str, typer.Option(help="jet, turbo, viridis, inferno, hot or gray.")] = "jet",
    signed: Annotated[bool, typer.Option("--signed", help="Show what speaks against the target too, in blue.")] = False,
    boxes: Annotated[bool, typer.Option("--boxes", help="Draw the boxes of the map, and of the detection.")] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Explain pictures. Overlays, maps and manifest.json go into a folder."""
    from onnxcam.cli import show
    from onnxcam.explainer.explainer import Explainer
    from onnxcam.explainer.manifest import Folder
    from onnxcam.media import image
    from onnxcam.methods import find_method

    if top is not None and target:
        raise typer.BadParameter("--top and --target exclude each other; give one")
    names = image.files(images)
    explainer = Explainer(
        model,
        method=method,
        layer=layer,
        provider=provider,
        preprocess=preprocess,
        labels=labels,
        settings=options.pairs(settings),
        smooth=smooth,
        signed=signed,
        inputs=options.pairs(inputs, "--input", "question=…"),
        wrt=wrt,
        progress=show.passes,
    )
    wanted: list[str | None] = [*target] if target else [None]
    with Folder(output, overwrite=overwrite) as folder:
        for name in show.progress(names) if find_method(method).in_graph else names:
            for one in [f"top={top}"] if top else wanted:
                for explanation in explainer.each(name, one):
                    folder.add(name, explanation, alpha=alpha, colormap=colormap, boxes=boxes)
    if as_json:
        show.json(folder.entries)
    else:
        show.explanations(folder.entries, output)
    show.notes(explainer.choice, folder.entries)
