"""``onnxcam explain``: write a heat map for each image and target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxcam.cli import each_method, effects, options, parts, sheets
from onnxcam.paths import left_out
from onnxcam.progress import Progress, quiet

if TYPE_CHECKING:
    from onnxcam.explainer.explainer import Explainer
    from onnxcam.explainer.manifest import Folder


def command(
    model: options.ModelArgument,
    images: parts.OpenImagesArgument = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Explanation method; repeatable, each explains every image. `onnxcam inspect` lists them. "
            "Default: the task's.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="What to explain: a class index, a label, top, any:cat, 281-285 (281 minus 285), "
            "any:281-285 (a range), 'not 281', detection=0, "
            'box=x1,y1,x2,y2, class=dog, text=AB12, like=FILE, like="a dog", … (docs/targets.md); repeatable.',
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", "-k", min=1, help="Explain the k highest-scoring classes or detections.", show_default=False
        ),
    ] = None,
    settings: each_method.MethodSettingsOption = None,
    smooth: Annotated[
        str,
        typer.Option(
            help="Smoothing: none, aug (average over augmented images), eigen (first principal component) or aug+eigen."
        ),
    ] = "none",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "-l",
            help="Layer to explain: auto, or the name of a tensor, node or module; repeatable.",
            show_default="auto",
        ),
    ] = None,
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
    rate: options.RateOption = None,
    start: options.StartOption = None,
    resample: options.ResampleOption = False,
    window: options.WindowOption = None,
    overlap: options.OverlapOption = None,
    part: parts.PartsOption = None,
    prompt: parts.PromptOption = None,
    image_token: parts.ImageTokenOption = None,
    tiles: parts.TilesOption = None,
    frames: Annotated[
        str | None,
        typer.Option(
            help="Frames of a video: so many, such as 16, or stride=5, or fps=2. Default: 32, or what a network of "
            "clips takes.",
            show_default=False,
        ),
    ] = None,
    provider: options.ProviderOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries of this run in manifest.json.")] = False,
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
    from onnxcam.cli import show, summary
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
    asked = parts.Asked(
        prompt=prompt,
        tokenizer=tokenizer,
        image_token=image_token,
        preprocess=preprocess,
        tiles=parts.tiles(tiles),
    )
    methods, every_layer = list(method or ["auto"]), list(layer or ["auto"])
    for given, name in ((methods, "method"), (every_layer, "layer")):
        if len(set(given)) < len(given):
            raise typer.BadParameter(f"--{name} names the same {name} twice")
    effects.require_no_effect_is_asked(*(_NO_SHEET if sheet is None else _A_SHEET))
    if maps == "raw":
        effects.require_no_effect_is_asked("opacity colormap colorbar title beside boxes format quality", _RAW)
    if format == "png":
        effects.require_no_effect_is_asked("quality", "with --format png, which is exact")
    own_options = each_method.options_of(methods, every_layer, options.pairs(settings), smooth)
    look = {"opacity": drawing["opacity"], "colormap": colormap, "boxes": boxes, "scale": scale, "dpi": dpi}
    look |= {"colorbar": colorbar is not False, "original": beside, "title": model.stem if title == "auto" else title}
    figure = None if sheet is None else sheets.SheetRun(sheet, overwrite, look)
    source, images = parts.opened(model, images, part, asked)
    names = image.files(images)
    if figure is not None:
        figure.check([model, *names])
    if frames is not None and not any(map(is_video, names)):
        raise typer.BadParameter("--frames is for videos, and none of the files is one")
    explainer = Explainer(
        source,
        **own_options[0],
        provider=provider,
        preprocess=preprocess,
        labels=labels,
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
    _require_other_layers(explainer, every_layer)
    others = [explainer.replace(**one) for one in own_options[1:]]
    wanted: Sequence[str | None] = [f"top={top}"] if top else options.once(target) or [None]
    for one in wanted:
        explainer.check(one)
    if any(one.finds_concepts for one in (explainer, *others)):
        effects.require_no_effect_is_asked("boxes title beside colorbar signed sheet", *_CONCEPTS)
    layout = explainer.network.layout
    if layout is None or len(layout.space) != 2:
        effects.require_no_effect_is_asked("boxes", "where the input is no image")
    if figure is not None:
        figure.write([explainer, *others], names, wanted, strict=strict, as_json=as_json)
        return
    own = {"each": own_options} if others else {}
    share = any(one.finds_concepts and one.shares_concepts for one in (explainer, *others))
    several = {**identity(explainer, wanted, **drawing), **own} if len(names) > 1 and not share else None
    progress: Progress = show.explaining if find_method(explainer.method).in_graph and several else quiet
    with Folder(output, overwrite=overwrite, identity=several) as folder:
        if len(names) > 1:
            progress = summary.telling_first(progress, lambda: summary.first_entry(folder.explained), show.print_err)
        explain_images(
            explainer, names, wanted, folder, others=others, strict=strict, jobs=jobs, progress=progress, **drawing
        )
    parts.write_words(explainer, folder, output, overwrite=overwrite)
    if as_json:
        show.json(folder.entries)
    else:
        show.explanations(folder.explained, output)
    show.warnings(_left_out(folder, names))
    show.notes(explainer.choice, folder.explained)
    summary.of_entries(folder.explained, len(set(names)), output, str(model)).tell()


def _require_other_layers(explainer: Explainer, layers: Sequence[str]) -> None:
    """Raise a usage error where two of *layers* are names of one layer."""
    found: dict[str, str] = {}
    for name in layers if len(layers) > 1 else ():
        if name != "auto" and "," not in name:
            tensor = explainer.network.tensor_of(name)
            if (first := found.setdefault(tensor, name)) != name:
                raise typer.BadParameter(f"--layer {first} and --layer {name} are the same layer, {tensor}; give one")


def _left_out(folder: Folder, names: Sequence[str]) -> list[str]:
    """Return warnings about the images that could not be explained: the first ones, and their number."""
    failed = folder.failed
    count = len({entry["image"] for entry in failed})
    total = [f"left out: {count} of {len(names)} pictures; manifest.json names them"] if count else []
    return [*left_out((entry["image"], entry["error"]) for entry in failed[:_SHOWN]), *total]


_NO_SHEET = "scale dpi", "without --sheet"
_A_SHEET = "output maps format quality jobs", "with --sheet, which writes one figure"
_RAW = "with --maps raw, which writes no overlay"
_CONCEPTS = "where dff draws all concepts", "leave it out, or choose one concept, --set rank=1"
_SHOWN = 10
"""The most images that are left out with a line of their own."""
