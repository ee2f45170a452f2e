"""End of `onnxcam validate` and `onnxcam compare`: write the reports, print the results, set the exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxcam.cli import summary
from onnxcam.paths import left_out

if TYPE_CHECKING:
    from onnxcam.compare.validation import Statistics, Validation, Verdict

SHOWN = 3  # maximum unreadable images listed
_PIPED = ("metric", "mean", "low", "high", "worst", "worst image", "images", "required", "holds")
"""The columns of `_line`."""
_STYLES = {"passed": "green", "failed": "red", "undecided": "yellow"}
_EXIT_CODES = {"passed": 0, "failed": 1, "undecided": 3}  # 2: an error


def finish(found: Validation, output: Path, *, overwrite: bool, as_json: bool, again: str = "") -> None:
    """Write the reports, print the results, and exit with code 1 if a requirement fails, 3 if there is a doubt.

    *again* is what to try next where a requirement fails, such as a command.
    """
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
    _summary(found, output, again).tell()
    show.print_err(_verdict(found), _STYLES[found.verdict])
    if not found.passed:
        raise typer.Exit(_EXIT_CODES[found.verdict])


def _print(found: Validation) -> None:
    """Print one row per metric: mean and interval, worst image, and requirements."""
    from onnxcam.cli import show

    asked: dict[str, list[Verdict]] = {}
    for verdict in found.verdicts:
        asked.setdefault(verdict.metric, []).append(verdict)
    if not show.out.is_terminal:
        show.table(_PIPED, [_line(row, asked.get(name, [])) for name, row in found.summaries.items()])
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
    show.table(("by the truth", "# reference", "# candidate"), rows)


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
    """Print warnings, and what was found about causes, layers and slices."""
    from onnxcam.cli import show
    from onnxcam.compare import layer_agreement, slices

    left = left_out(found.unreadable[:SHOWN])
    if len(found.unreadable) > SHOWN:
        left.append(f"left out: {len(found.unreadable) - SHOWN} more that cannot be read; the report names them")
    show.warnings([*found.damaged, *left, *found.warnings])
    if found.diagnosis is not None:
        show.print_err(f"why: {found.diagnosis['sentence']}")
    if found.levels:
        show.print_err(f"layers: {layer_agreement.sentence(found.levels)}")
    if worst := slices.sentence(found.slices, found.truth):
        show.print_err(f"slices: {worst}")


def _summary(found: Validation, output: Path, again: str) -> summary.RunSummary:
    from onnxcam.compare.report.folder import PAGE

    count = len(found.journal)
    sides = {"reference": found.reference, "candidate": found.candidate}
    guesses = {side: summary.guess_of(info.preprocess, info.preprocess_source) for side, info in sides.items()}
    end = dict.fromkeys(sides, "")
    if guesses["reference"] != guesses["candidate"]:
        end = {side: f" of the {side}" for side in sides}
    named = {f"{name}{end[side]}": how for side, one in guesses.items() for name, how in one.items()}
    report = f"open {output / PAGE}"
    return summary.RunSummary(
        summary.done_of(count, count + len(found.unreadable), "image", [found.candidate.method]),
        f"{output}{os.sep}",
        named,
        _worst(found) if count > 1 else "",
        f"{report}; {again}" if again and not found.passed else report,
    )


def _worst(found: Validation) -> str:
    """Return the worst image by the first requirement that fails, else the first one; empty if all are alike."""
    asked = sorted(found.verdicts, key=lambda one: one.holds)
    rows = [*(found.summaries[one.metric] for one in asked if one.metric in found.summaries), *found.summaries.values()]
    row = next((one for one in rows if one.worst != one.median), None)
    return "" if row is None else f"{row.worst_picture}: {row.metric} {row.worst:.3f}, the worst"


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
