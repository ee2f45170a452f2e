"""``onnxcam diagnose``: which quantised tensors make a model look elsewhere, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxcam.cli import options
from onnxcam.cli.summary import FirstResult, RunSummary, counted, shell

if TYPE_CHECKING:
    from onnxcam.diagnosis.diagnosis import Diagnosis, Effect, TensorDiagnosis

SHOWN = 10  # tensors in the table at a terminal
WIDE = 130  # columns of a terminal that has room for all columns of the table
_COLUMNS = ("#", "tensor", "kind", "# damage", "# map", "# outputs", "# score", "# up to here", "# SQNR", "# by SQNR")
_EFFECTS = tuple(f"{name} {of}" for name in ("map", "outputs", "score") for of in ("mean", "spread"))
_PIPED = ("rank", "tensor", "kind", "damage", *_EFFECTS, "up to here", "SQNR", "by SQNR", "cause", "why", "cure")
"""The columns of `_line`."""
_NARROW = (0, 1, 3, 4, 8, 9, 10)  # the columns that matter most


def command(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="FLOAT",
            help="Float model (.onnx). '-' if there is none: the quantised model without rounding takes its place.",
            show_default=False,
        ),
    ],
    candidate: Annotated[Path, typer.Argument(metavar="INT8", help="Quantised model (.onnx).", show_default=False)],
    images: options.ImagesArgument,
    method: Annotated[str, typer.Option("--method", "-m", help="Explanation method.")] = "auto",
    target: Annotated[
        str, typer.Option("--target", "-t", help="What to explain: top, or a target as for `onnxcam explain`.")
    ] = "top",
    layer: options.LayerOption = "auto",
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    settings: options.SettingsOption = None,
    provider: options.ProviderOption = "auto",
    objects: Annotated[
        int, typer.Option(min=1, max=100, help="Things explained in an image, where a task predicts several.")
    ] = 1,
    most: Annotated[int, typer.Option("--most", min=1, help="Maximum number of images.")] = 16,
    annotate: Annotated[
        Path | None,
        typer.Option(
            "--annotate",
            help="Also write a copy of the quantised model whose nodes say their damage and cause; Netron shows them.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.ReplaceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print diagnosis.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Report folder.")] = Path("onnxcam-diagnosis"),
) -> None:
    """Rank quantised tensors by what their rounding changes. It changes the score, the outputs and the heat map.
    Each tensor gets a cause and a cure, where its range shows one. Exit code 0.
    """
    from onnxcam.cli import show
    from onnxcam.diagnosis import exports
    from onnxcam.diagnosis.diagnose import diagnose
    from onnxcam.files import require_place, require_writable
    from onnxcam.graph.io import files_of
    from onnxcam.media import image

    real = options.float_model(reference)
    if annotate is not None:
        read: list[str | Path] = [*files_of(candidate), *files_of(real), *image.files(images)]
        require_writable(annotate, read, overwrite=overwrite, option="--annotate")
        require_place(annotate, option="--annotate")
    require_place(output, folder=True)
    found = diagnose(
        real,
        candidate,
        images,
        output,
        target=target,
        most=most,
        overwrite=overwrite,
        progress=show.diagnosing,
        told=FirstResult(show.print_err),
        method=method,
        layer=layer,
        preprocess=preprocess,
        labels=labels,
        settings=options.pairs(settings),
        provider=provider,
        objects=objects,
    )
    if annotate is not None:
        exports.annotate(found, candidate, annotate, overwrite=overwrite)
    if as_json:
        show.json(found.as_dict())
    else:
        print_table(found)
        show.where(output)
    show.warnings(found.warnings)
    for note in _notes(found):
        show.print_err(note)
    count = len(dict.fromkeys(found.images))
    seen = f"{count} of {counted(found.given, 'image')} (--most)" if count == most < found.given else ""
    RunSummary(
        f"{counted(len(found.tensors), 'quantised tensor')} on {seen or counted(count, 'image')}",
        f"{output}{os.sep}",
        found.guessed,
        found.tensors[0].words,
        f"onnxcam repair {shell(reference)} {shell(candidate)} {shell(images[0])} -o repaired.onnx",
    ).tell()
    show.print_err(found.sentence, "bold")


def _notes(found: Diagnosis) -> list[str]:
    """Return what the pairing of the two models found."""
    from onnxcam.diagnosis.moved_biases import moved_words
    from onnxcam.text import visible

    lost = [visible(name) for name in found.unmatched]
    notes = [moved_words(found.moved_biases)]
    if lost:
        have = "1 quantised tensor has" if len(lost) == 1 else f"{len(lost)} quantised tensors have"
        notes.append(f"{have} no partner in the float model: {', '.join(lost[:3])}{' …' if lost[3:] else ''}")
    return [note for note in notes if note]


def print_table(found: Diagnosis) -> None:
    """Print one row per tensor: all of them when piped, the first ones at a terminal."""
    from onnxcam.cli import show

    if not show.out.is_terminal:
        show.table(_PIPED, [_line(rank, one, found) for rank, one in enumerate(found.tensors, 1)])
        return
    columns = (*_COLUMNS, "cause")
    kept = range(len(columns)) if show.out.width >= WIDE else _NARROW
    rows = [_row(rank, one, found) for rank, one in enumerate(found.tensors[:SHOWN], 1)]
    show.table([columns[at] for at in kept], [[row[at] for at in kept] for row in rows])
    if len(found.tensors) > SHOWN:
        show.print_out(f"and {len(found.tensors) - SHOWN} more", "dim")


def _line(rank: int, one: TensorDiagnosis, found: Diagnosis) -> list[str]:
    """Return rank, tensor, kind, share, mean and spread of each effect, accumulated effect, SQNR, its rank, cause."""
    effects = [_pair(one.effects.get(name)) for name in ("map", "outputs", "score")]
    cause = ("", "", "") if one.cause is None else (one.cause.id, one.cause.words, one.cause.cure)
    return [
        str(rank),
        one.name,
        one.kind,
        f"{one.share:.4f}",
        *(number for pair in effects for number in pair),
        _number(one.accumulated, 4),
        _number(one.sqnr, 1),
        str(found.sqnr_ranks[one.tensor]),
        *cause,
    ]


def _row(rank: int, one: TensorDiagnosis, found: Diagnosis) -> list[str]:
    from onnxcam.diagnosis.formatting import effect_text, percent
    from onnxcam.text import visible

    return [
        str(rank),
        visible(one.name, 30),
        one.kind,
        percent(one.share),
        *(effect_text(name, one.effects.get(name), 0) for name in ("map", "outputs", "score")),
        "" if one.accumulated is None else percent(one.accumulated),
        "" if one.sqnr is None else f"{one.sqnr:.0f} dB",
        str(found.sqnr_ranks[one.tensor]),
        "" if one.cause is None else one.cause.id,
    ]


def _pair(effect: Effect | None) -> tuple[str, str]:
    return ("", "") if effect is None else (f"{effect.mean:.4g}", f"{effect.spread:.4g}")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
