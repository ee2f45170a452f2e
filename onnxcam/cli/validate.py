"""``onnxcam validate``: does the candidate still look where the reference does?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxcam.cli import options

if TYPE_CHECKING:
    from onnxcam.edge.validation import Summary, Validation, Verdict

SHOWN = 3  # pictures that could not be read


def _own(*names: str, help: str) -> typer.models.OptionInfo:
    return typer.Option(*names, help=help, show_default=False)


def command(
    reference: Annotated[Path, typer.Argument(help="The model to be measured by, an .onnx file.", show_default=False)],
    candidate: Annotated[
        Path, typer.Argument(help="The model that is measured: quantised, pruned, converted, …", show_default=False)
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            help="Pictures: files, folders, patterns in quotes, or lists (.txt, @list).", show_default=False
        ),
    ],
    method: Annotated[str, typer.Option("--method", "-m", help="A method's id.")] = "gradcam",
    target: Annotated[
        str, typer.Option("--target", "-t", help="top (the reference's own), a class index or a label.")
    ] = "top",
    truth: Annotated[
        Path | None,
        typer.Option(help="Where the objects are: a folder of masks (PNG), or a JSON of boxes.", show_default=False),
    ] = None,
    mask_values: Annotated[
        str,
        typer.Option(
            help="What k in a mask means: object (any but 0), class (class k, 0 is none), class+1 (class k-1)."
        ),
    ] = "object",
    require: Annotated[
        str | None,
        _own(
            "--require",
            "-r",
            help='What must hold, in place of the default: "iou>=0.6,top1>=0.99"; iou.low is the lower end of the '
            "interval, iou.worst the worst picture.",
        ),
    ] = None,
    layer: options.Layer = "auto",
    candidate_layer: Annotated[
        str | None, _own("--candidate-layer", help="The candidate's, where it has another name.")
    ] = None,
    preprocess: options.Preprocess = None,
    reference_preprocess: Annotated[
        str | None, _own("--reference-preprocess", help="The reference's own, in place of --preprocess.")
    ] = None,
    candidate_preprocess: Annotated[
        str | None, _own("--candidate-preprocess", help="The candidate's own, in place of --preprocess.")
    ] = None,
    labels: options.Labels = None,
    settings: Annotated[
        list[str] | None, _own("--set", help="name=value, a setting of the method; repeatable.")
    ] = None,
    provider: options.Provider = "auto",
    candidate_provider: Annotated[
        str | None, _own("--candidate-provider", help="The candidate's, where it is another.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also tell at which layer the two begin to look elsewhere.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures that a run holds.")] = 8,
    jobs: Annotated[
        int | None, _own("--jobs", "-j", help="Threads that read pictures; else one a core, at most 4.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at a picture that cannot be read.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print validation.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path("onnxcam-validation"),
) -> None:
    """Compare two models picture by picture: their answers, and where they look. Exit code 0: it holds, 1: not.

    What is killed on the way goes on where it was when the same command is given again.
    """
    from onnxcam.cli import show
    from onnxcam.edge.observer import Observer
    from onnxcam.edge.thresholds import DEFAULTS
    from onnxcam.edge.validate import observing, validate
    from onnxcam.metrics.truth import Truth

    shared = {"method": method, "labels": labels, "settings": options.pairs(settings)}

    def open_side(side: str, model: Path, layer: str, how: str | None, provider: str) -> Observer:
        with show.waiting(f"opening {model}"):
            return observing(side, model, layer=layer, preprocess=how, provider=provider, **shared)

    found = validate(
        open_side("reference", reference, layer, reference_preprocess or preprocess, provider),
        open_side(
            "candidate",
            candidate,
            candidate_layer or layer,
            candidate_preprocess or preprocess,
            candidate_provider or provider,
        ),
        images,
        output,
        target=target,
        truth=None if truth is None else Truth(truth, mask_values),
        require=DEFAULTS if require is None else require,
        strict=strict,
        overwrite=overwrite,
        batch_size=batch_size,
        jobs=jobs,
        layers=layers,
        progress=show.comparing,
    )
    found.save(output, overwrite)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        _print(found)
        if found.levels:
            _print_layers(found)
        show.where(output)
    _note(found)
    if not found.passed:
        raise typer.Exit(1)


def _print(found: Validation) -> None:
    """Print a row a metric: the mean and its interval, the worst picture, and what was asked for."""
    from onnxcam.cli import show

    asked = {verdict.metric: verdict for verdict in found.verdicts}
    if not show.out.is_terminal:
        show.table((), [_line(row, asked.get(name)) for name, row in found.summaries.items()])
        return
    rows = [_row(row, asked.get(name)) for name, row in found.summaries.items()]
    show.table(("metric", "# mean", "95 % interval", "# worst", "in", "required"), rows)


def _print_layers(found: Validation) -> None:
    """Print a row a layer that both have, from the input on."""
    from onnxcam.cli import show

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    if show.out.is_terminal:
        show.out.print()
    rows = [
        (level.reference, level.size, number(level.activations), number(level.pearson), number(level.iou))
        for level in found.levels
    ]
    show.table(("layer", "size", "# cosine of activations", "# pearson", "# iou"), rows)


def _line(row: Summary, asked: Verdict | None) -> tuple[str, ...]:
    """Return metric, mean, low, high, worst, its picture, how many pictures, what is required, whether it holds."""
    numbers = ("" if value is None else f"{value:.4f}" for value in (row.mean, row.low, row.high, row.worst))
    told = ("", "") if asked is None else (asked.words, "holds" if asked.holds else "FAILS")
    return row.metric, *numbers, row.worst_picture, str(row.count), *told


def _row(row: Summary, asked: Verdict | None) -> tuple[str, ...]:
    from onnxcam.edge.comparison import METRICS

    arrow = "↑" if METRICS[row.metric].better == "higher" else "↓"
    interval = "" if row.low is None or row.high is None else f"[{row.low:.3f}, {row.high:.3f}]"
    even = row.worst == row.median == row.mean
    worst = ("", "") if even else (f"{row.worst:.3f}", Path(row.worst_picture).name)
    told = "" if asked is None else f"{asked.words.removeprefix(row.metric).strip()} {'✓' if asked.holds else '✗'}"
    return f"{row.metric} {arrow}", f"{row.mean:.3f}", interval, *worst, told


def _note(found: Validation) -> None:
    """Print what the user should know, and the verdict in one line."""
    from onnxcam.cli import show
    from onnxcam.edge import depth

    def warn(text: str) -> None:
        show.err.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    for _, why in found.unreadable[:SHOWN]:
        warn(f"left out: {why}")
    if len(found.unreadable) > SHOWN:
        warn(f"left out: {len(found.unreadable) - SHOWN} more that cannot be read; the report names them")
    for warning in dict.fromkeys(found.warnings):
        warn(warning)
    if found.levels:
        show.err.print(f"layers: {depth.told(found.levels)}", markup=False, soft_wrap=True)
    style = "green" if found.passed else "red"
    show.err.print(_verdict(found), style=style, markup=False, soft_wrap=True)


def _verdict(found: Validation) -> str:
    count = len(found.journal)
    on = f"on {count} picture{'s' if count != 1 else ''}"
    failing = [_failing(verdict) for verdict in found.verdicts if not verdict.holds]
    return f"FAILED {on}: {'; '.join(failing)}" if failing else f"passed {on}: all that was required holds"


def _failing(verdict: Verdict) -> str:
    value = "no picture has it" if verdict.value is None else f"it is {verdict.value:.4f}"
    return f"{verdict.words} is required, but {value}"
