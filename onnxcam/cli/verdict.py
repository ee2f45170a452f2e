"""End of `onnxcam validate` and `onnxcam compare`: write the reports, print the results, set the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from onnxcam.compare.validation import Statistics, Validation, Verdict

SHOWN = 3  # maximum unreadable images listed
_EXIT_CODES = {"passed": 0, "failed": 1, "undecided": 3}  # 2: an error


def finish(found: Validation, output: Path, *, overwrite: bool, as_json: bool) -> None:
    """Write the reports, print the results, and exit with code 1 if a requirement fails, 3 if there is a doubt."""
    from onnxcam.cli import show

    found.save(output, overwrite)
    if as_json:
        show.json(found.as_dict())
    else:
        _print(found)
        if found.accuracy:
            _print_accuracy(found)
        if found.levels:
            _print_layers(found)
        show.where(output)
    _note(found)
    if not found.passed:
        raise typer.Exit(_EXIT_CODES[found.verdict])


def _print(found: Validation) -> None:
    """Print one row per metric: mean and interval, worst image, and requirements."""
    from onnxcam.cli import show

    asked: dict[str, list[Verdict]] = {}
    for verdict in found.verdicts:
        asked.setdefault(verdict.metric, []).append(verdict)
    if not show.out.is_terminal:
        show.table((), [_line(row, asked.get(name, [])) for name, row in found.summaries.items()])
        return
    rows = [_row(row, asked.get(name, [])) for name, row in found.summaries.items()]
    show.table(("metric", "# mean", "95 % interval", "# worst", "in", "required"), rows)


def _print_accuracy(found: Validation) -> None:
    """Print one row per measure by the ground truth."""
    from onnxcam.cli import show

    if show.out.is_terminal:
        show.out.print()
    first, second = found.accuracy
    rows = [(metric, f"{value:.4f}", f"{second[metric]:.4f}") for metric, value in first.items()]
    show.table(("by the truth", "# reference", "# candidate") if show.out.is_terminal else (), rows)


def _print_layers(found: Validation) -> None:
    """Print one row per common layer, from input to output."""
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


def _line(row: Statistics, asked: Sequence[Verdict]) -> tuple[str, ...]:
    """Return metric, mean, low, high, worst, worst image, number of images, requirements, and whether they hold."""
    numbers = ("" if value is None else f"{value:.4f}" for value in (row.mean, row.low, row.high, row.worst))
    words = ", ".join(each.words for each in asked)
    holds = ("holds" if all(each.holds for each in asked) else "FAILS") if asked else ""
    return row.metric, *numbers, row.worst_picture, str(row.count), words, holds


def _row(row: Statistics, asked: Sequence[Verdict]) -> tuple[str, ...]:
    from onnxcam.compare.image_comparison import AGREEMENT_METRICS

    arrow = "↑" if AGREEMENT_METRICS[row.metric].better == "higher" else "↓"
    interval = "" if row.low is None or row.high is None else f"[{row.low:.3f}, {row.high:.3f}]"
    even = row.worst == row.median == row.mean
    worst = ("", "") if even else (f"{row.worst:.3f}", Path(row.worst_picture).name)
    requirements = ", ".join(
        f"{one.words.removeprefix(row.metric).strip()} {'✓' if one.holds else '✗'}" for one in asked
    )
    return f"{row.metric} {arrow}", f"{row.mean:.3f}", interval, *worst, requirements


def _note(found: Validation) -> None:
    """Print warnings, and the verdict in one line."""
    from onnxcam.cli import show
    from onnxcam.compare import layer_agreement, slices

    left = [f"left out: {why}" for _, why in found.unreadable[:SHOWN]]
    if len(found.unreadable) > SHOWN:
        left.append(f"left out: {len(found.unreadable) - SHOWN} more that cannot be read; the report names them")
    show.warnings([*found.damaged, *left, *found.warnings])
    if found.diagnosis is not None:
        show.print_err(f"why: {found.diagnosis['sentence']}")
    if found.levels:
        show.print_err(f"layers: {layer_agreement.sentence(found.levels)}")
    if worst := slices.sentence(found.slices, found.truth):
        show.print_err(f"slices: {worst}")
    style = {"passed": "green", "failed": "red", "undecided": "yellow"}[found.verdict]
    show.print_err(_verdict(found), style)


def _verdict(found: Validation) -> str:
    count = len(found.journal)
    on = f"on {count} image{'s' if count != 1 else ''}"
    if found.doubt:
        return f"UNDECIDED {on}: {found.doubt}"
    failing = [_failing(verdict) for verdict in found.verdicts if not verdict.holds]
    return f"FAILED {on}: {'; '.join(failing)}" if failing else f"passed {on}: all requirements hold"


def _failing(verdict: Verdict) -> str:
    value = "no image has it" if verdict.value is None else f"it is {verdict.value:.4f}"
    return f"{verdict.words} is required, but {value}"
