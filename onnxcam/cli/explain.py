"""``onnxcam explain``: write a heat map for each image and target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxcam.cli import options, parts, sheets
from onnxcam.progress import quiet

if TYPE_CHECKING:
    from onnxcam.explainer.manifest import Folder


def command(
    model: options.ModelArgument,
    images: parts.OpenImagesArgument = None,
    method: Annotated[
        list[str],
        typer.Option(
            "--method",
            "-m",
            help="Explanation method; auto: the task's default. `onnxcam inspect` lists them. Repeatable with --sheet.",
            show_default="auto",
        ),
    ] = ["auto"],  # noqa: B006
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="What to explain: a class index, a label, top, 281-285, 'not 281', detection=0, box=x1,y1,x2,y2, "
            'class=dog, text=AB12, like=FILE, like="a dog", … (docs/targets.md); repeatable.',
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
    layer: Annotated[
        list[str],
        typer.Option(
            "--layer",
            "-l",
            help="Layer to explain: auto, or the name of a tensor, node or module. Repeatable with --sheet.",
            show_default="auto",
        ),
    ] = ["auto"],  # noqa: B006
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    inputs: options.InputsOption = None,
    wrt: options.WrtOption = None,
    task: options.TaskOption = None,
    scores: options.ScoresOutputOption = None,
    boxes_output: options.BoxesOutputOption = None,
    letters: options.LettersOption = None,
    text_model: options.TextModelOption = None,
    tokenizer: options.TokenizerOption = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Of a network of signals: the samples in a second that it takes.", show_default=False),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Where the part of a longer signal begins: a sample, or seconds such as 2.5s.", show_default=False
        ),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Change signals of another rate to the network's.")
    ] = False,
    window: options.WindowOption = None,
    overlap: options.OverlapOption = None,
    part: parts.PartsOption = None,
    prompt: parts.PromptOption = None,
    image_token: parts.ImageTokenOption = None,
    frames: Annotated[
        str | None,
        typer.Option(
            help="Frames of a video: so many, such as 16, or stride=5, or fps=2. Default: 32, or what a network of "
            "clips takes.",
            show_default=False,
        ),
    ] = None,
    provider: options.ProviderOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print manifest.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = Path("onnxcam-out"),
    opacity: sheets.OpacityOption = "value",
    colormap: sheets.ColormapOption = None,
    colorbar: sheets.ColorbarOption = None,
    title: sheets.TitleOption = None,
    beside: sheets.BesideOption = False,
    sheet: sheets.SheetOption = None,
    scale: sheets.ScaleOption = "image",
    dpi: sheets.DpiOption = 200,
    signed: Annotated[bool, typer.Option("--signed", help="Also show negative evidence, in blue.")] = False,
    boxes: Annotated[
        bool,
        typer.Option(
            "--boxes", help="Draw a box around the highlighted region, and the box of an explained detection."
        ),
    ] = False,
    maps: Annotated[
        str,
        typer.Option(
            help="What to write: raw (the raw map at the layer's size), overlay (also the overlay), or all (also the "
            "map at the image's size)."
        ),
    ] = "overlay",
    format: Annotated[
        str, typer.Option("--format", help="Format of the overlays: jpeg, png (exact, larger, slower) or webp.")
    ] = "jpeg",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG and WebP overlays.")] = 90,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Threads that read images. Default: one per core, at most 4.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be explained instead of skipping it.")
    ] = False,
    overwrite: options.OverwriteOption = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the graphs of models, so that the next start is faster.", show_default=False
        ),
    ] = None,
) -> None:
    """Explain images, volumes, signals or videos. Writes overlays, raw maps and manifest.json to a folder.

    An interrupted run resumes when you repeat the command.
    """
    from onnxcam.cli import show
    from onnxcam.explainer.drawing import Drawing, check_drawing
    from onnxcam.explainer.explainer import Explainer
    from onnxcam.explainer.manifest import Folder
    from onnxcam.explainer.many import explain_images, identity
    from onnxcam.media import image
    from onnxcam.media.video import is_video
    from onnxcam.methods import find_method

    if top is not None and target:
        raise typer.BadParameter("--top and --target exclude each other; give one")
    drawing = Drawing(
        opacity=sheets.opacity(opacity),
        colormap=colormap,
        boxes=boxes,
        maps=maps,  # type: ignore[typeddict-item]
        format=format,  # type: ignore[typeddict-item]
        quality=quality,
        colorbar=bool(colorbar),
        title=title,
        beside=beside,
    )
    check_drawing(drawing)
    if sheet is None and len(method) * len(layer) > 1:
        raise typer.BadParameter("several --method or --layer are columns of a sheet; add --sheet FILE, or give one")
    look = {"opacity": drawing["opacity"], "colormap": colormap, "boxes": boxes, "scale": scale, "dpi": dpi}
    look |= {"colorbar": colorbar is not False, "original": beside, "title": model.stem if title == "auto" else title}
    figure = None if sheet is None else sheets.SheetRun(sheet, overwrite, look)
    asked = parts.Asked(prompt=prompt, tokenizer=tokenizer, image_token=image_token, preprocess=preprocess)
    source, images = parts.opened(model, images, part, asked)
    names = image.files(images)
    if figure is not None:
        figure.check([model, *names])
    if frames is not None and not any(map(is_video, names)):
        raise typer.BadParameter("--frames is for videos, and none of the files is one")
    explainer = Explainer(
        source,
        method=method[0],
        layer=layer[0],
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
        text_model=text_model,
        tokenizer=tokenizer if isinstance(source, Path) else None,  # a decoder has its own
        progress=show.passes,
        spin=len(names) == 1,
        cache=cache,
        rate=rate,
        start=start,
        resample=resample,
        window=options.lengths(window),
        overlap=overlap,
        frames=frames,
    )
    wanted: Sequence[str | None] = [f"top={top}"] if top else target or [None]
    for one in wanted:
        explainer.check(one)
    if figure is not None:
        others = [(one, at) for one in method for at in layer][1:]
        every = [explainer, *(explainer.replace(method=one, layer=at) for one, at in others)]
        figure.write(every, names, wanted, strict=strict, as_json=as_json)
        return
    several = identity(explainer, wanted, **drawing) if len(names) > 1 else None
    progress = show.explaining if find_method(explainer.method).in_graph and several else quiet
    with Folder(output, overwrite=overwrite, identity=several) as folder:
        explain_images(explainer, names, wanted, folder, strict=strict, jobs=jobs, progress=progress, **drawing)
    parts.write_words(explainer, folder, output, overwrite=overwrite)
    if as_json:
        show.json(folder.entries)
    else:
        show.explanations(folder.explained, output)
    show.warnings(_left_out(folder, names))
    show.notes(explainer.choice, folder.explained)


def _left_out(folder: Folder, names: Sequence[str]) -> list[str]:
    """Return warnings about the images that could not be explained: the first ones, and their number."""
    from onnxcam.explainer.many import named

    failed = folder.failed
    count = len({entry["image"] for entry in failed})
    total = [f"left out: {count} of {len(names)} pictures; manifest.json names them"] if count else []
    return [*(f"left out: {named(entry)}" for entry in failed[:_SHOWN]), *total]


_SHOWN = 10
"""The most images that are left out with a line of their own."""
