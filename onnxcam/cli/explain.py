"""``onnxcam explain``: write a heat map for each image and target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxcam.cli import options
from onnxcam.errors import MethodError, MissingRuleError, OnnxcamError, OutputError, ProviderError

if TYPE_CHECKING:
    from onnxcam.explainer.explainer import Explainer
    from onnxcam.explainer.manifest import Folder


def command(
    model: options.ModelArgument,
    images: options.ImagesArgument,
    method: Annotated[
        str,
        typer.Option(
            "--method", "-m", help="Explanation method; auto: the task's default. `onnxcam inspect` lists them."
        ),
    ] = "auto",
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
    task: options.TaskOption = None,
    scores: options.ScoresOutputOption = None,
    boxes_output: options.BoxesOutputOption = None,
    letters: options.LettersOption = None,
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
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be explained instead of skipping it.")
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
    wanted: Sequence[str | None] = [f"top={top}"] if top else target or [None]
    for one in wanted:
        explainer.check(one)
    drawn = {"alpha": alpha, "colormap": colormap, "boxes": boxes}
    with Folder(output, overwrite=overwrite) as folder:
        shown = show.progress(names) if find_method(explainer.method).in_graph else names
        for name, error in _explain(explainer, shown, wanted, folder, drawn):
            if len(names) == 1:
                raise error
            entry = folder.add_failure(name, error)
            if strict:
                raise type(error)(_named(entry))
        if not folder.explained:
            raise OnnxcamError(f"no image of {len(names)} was explained; the first: {_named(folder.failed[0])}")
    if as_json:
        show.json(folder.entries)
    else:
        show.explanations(folder.explained, output)
    show.warnings(_left_out(folder, names))
    show.notes(explainer.choice, folder.explained)


def _explain(
    explainer: Explainer, names: Iterable[str], targets: Sequence[str | None], folder: Folder, drawn: Mapping[str, Any]
) -> Iterator[tuple[str, OnnxcamError]]:
    """Add an explanation of each image and target to *folder*; yield the images that have none, and the errors."""
    for name in names:
        for target in targets:
            try:
                for explanation in explainer.each(name, target):
                    folder.add(name, explanation, reading=explainer.reading, **drawn)
            except _OF_EVERY_IMAGE:
                raise
            except OnnxcamError as error:
                yield name, error


def _left_out(folder: Folder, names: Sequence[str]) -> list[str]:
    """Return warnings about the images that could not be explained: the first ones, and their number."""
    failed = folder.failed
    count = len({entry["image"] for entry in failed})
    total = [f"left out: {count} of {len(names)} pictures; manifest.json names them"] if count else []
    return [*(f"left out: {_named(entry)}" for entry in failed[:_SHOWN]), *total]


def _named(entry: Mapping[str, str]) -> str:
    """Return the error of a failed entry with the name of its image."""
    name, error = entry["image"], entry["error"]
    return error if Path(name).name in error else f"{name}: {error}"


_SHOWN = 10
"""The most images that are left out with a line of their own."""

_OF_EVERY_IMAGE = (OutputError, ProviderError, MethodError, MissingRuleError)
"""Errors that every image has: they end the run."""
