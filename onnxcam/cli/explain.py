"""``onnxcam explain``: write a heat map for each image and target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: options.ModelArgument,
    images: options.ImagesArgument,
    method: Annotated[
        str, typer.Option("--method", "-m", help="Explanation method; `onnxcam inspect` lists them.")
    ] = "gradcam",
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
        typer.Option(
            "--top", "-k", min=1, help="Explain the k highest-scoring classes or detections.", show_default=False
        ),
    ] = None,
    settings: options.SettingsOption = None,
    smooth: Annotated[
        str,
        typer.Option(
            help="Smoothing: none, aug (average over augmented images), eigen (first principal component) or aug+eigen."
        ),
    ] = "none",
    layer: options.LayerOption = "auto",
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    inputs: options.InputsOption = None,
    wrt: options.WrtOption = None,
    task: options.Task = None,
    scores: options.ScoresOutput = None,
    boxes_output: options.BoxesOutput = None,
    letters: options.Letters = None,
    provider: options.ProviderOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print manifest.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = Path("onnxcam-out"),
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Opacity of the heat map in the overlay.")] = 0.5,
    colormap: Annotated[str, typer.Option(help="Colour map: jet, turbo, viridis, inferno, hot or gray.")] = "jet",
    signed: Annotated[bool, typer.Option("--signed", help="Also show negative evidence, in blue.")] = False,
    boxes: Annotated[
        bool,
        typer.Option(
            "--boxes", help="Draw a box around the highlighted region, and the box of an explained detection."
        ),
    ] = False,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Explain images. Writes overlays, heat maps and manifest.json to a folder."""
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
        task=task,
        scores_output=scores,
        boxes_output=boxes_output,
        letters=letters,
        progress=show.passes,
    )
    wanted: list[str | None] = [*target] if target else [None]
    with Folder(output, overwrite=overwrite) as folder:
        for name in show.progress(names) if find_method(method).in_graph else names:
            for one in [f"top={top}"] if top else wanted:
                for explanation in explainer.each(name, one):
                    folder.add(
                        name, explanation, alpha=alpha, colormap=colormap, boxes=boxes, reading=explainer.reading
                    )
    if as_json:
        show.json(folder.entries)
    else:
        show.explanations(folder.entries, output)
    show.notes(explainer.choice, folder.entries)
