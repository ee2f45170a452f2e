"""``onnxcam evaluate``: measure the quality of explanations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxcam.cli import effects, options, summary
from onnxcam.paths import left_out
from onnxcam.progress import Progress

if TYPE_CHECKING:
    from onnxcam.metrics import Evaluation, Summary

_CELL = 22  # width of a mean with its interval


def command(
    model: options.ModelArgument,
    images: options.ImagesArgument,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="Explanation method; repeatable. Default: gradcam.", show_default=False),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="Metric, group of metrics (localisation, faithfulness, road, robustness, complexity, sanity) or all; "
            "repeatable. Default: all but robustness and sanity.",
            show_default=False,
        ),
    ] = None,
    truth: options.TruthOption = None,
    mask_values: options.MaskValuesOption = "object",
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="Class to explain: an index, a label or top; of an embedding like=FILE or like='a dog'. Default: the "
            "classes named in --truth, otherwise top.",
            show_default=False,
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also measure two baselines: a random map and a centre prior.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Setting of a method or metric, ID.name=value, for example rise.samples=500; repeatable.",
            show_default=False,
        ),
    ] = None,
    layer: options.LayerOption = "auto",
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    provider: options.ProviderOption = "auto",
    frames: options.FramesOption = None,
    rate: options.RateOption = None,
    start: options.StartOption = None,
    resample: options.ResampleOption = False,
    window: options.NoWindowOption = None,
    text_model: options.TextModelOption = None,
    tokenizer: options.TokenizerOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images, or perturbed copies of one image, per pass.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print evaluation.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = Path("onnxcam-evaluation"),
    shard: options.ShardOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an unreadable image instead of skipping it.")
    ] = False,
    overwrite: options.ReplaceOption = False,
) -> None:
    """Measure the quality of explanations. Metrics cover localisation, faithfulness, robustness and sanity checks.

    With --shard, an interrupted run resumes when you repeat the command.
    """
    from onnxcam.cli import show
    from onnxcam.media import image
    from onnxcam.metrics import Truth, evaluate
    from onnxcam.metrics.evaluate_shard import evaluate_shard
    from onnxcam.metrics.lookup import choose, runs_of, sort_settings
    from onnxcam.metrics.report import Report

    if truth is None:
        effects.require_no_effect_is_asked("mask_values", "without --truth")
    chosen = choose(metrics or (), has_truth=True)
    given_runs = runs_of(chosen, sort_settings(options.pairs(settings or []), methods or ["gradcam"], chosen))
    given: dict[str, Any] = {
        "methods": methods or ["gradcam"],
        "metrics": metrics or (),
        "truth": None if truth is None else Truth(truth, mask_values),
        "target": target,
        "baselines": baselines,
        "settings": options.pairs(settings or []),
        "layer": layer,
        "preprocess": preprocess,
        "labels": labels,
        "provider": provider,
        "batch_size": batch_size,
        "seed": seed,
        "strict": strict,
        "frames": frames,
        "rate": rate,
        "start": start,
        "resample": resample,
        "text_model": text_model,
        "tokenizer": tokenizer,
        "progress": _telling_cost(given_runs, show.measuring, show.print_err),
        "told": summary.FirstResult(show.print_err),
    }
    if shard is not None:
        found = evaluate_shard(model, image.files(images), output, shard, overwrite=overwrite, **given)
        show.shard(found, output, as_json=as_json)
        return
    with Report(output, overwrite=overwrite) as report:
        evaluation = evaluate(model, image.files(images), **given)
        report.write(evaluation)
    finish(evaluation, output, as_json=as_json)


MANY = 6000
"""Runs of a network from which an evaluation is long: a minute, where each takes 10 ms."""


def _telling_cost(runs: int, progress: Progress, say: Callable[[str], None]) -> Progress:
    """Return *progress* that says once, before a long evaluation, how many *runs* the metrics of each map need."""
    waits = True

    def told(items: Iterable[Any], total: int) -> Iterable[Any]:
        nonlocal waits
        if waits and runs * total >= MANY:
            maps = summary.counted(total, "map")
            say(
                f"this takes a while: about {runs:,} runs of the network for each map, and {maps}; "
                "--metric names fewer metrics (docs/evaluate.md states what each needs)"
            )
        waits = False
        return progress(items, total)

    return told


def finish(found: Evaluation, output: Path, *, as_json: bool) -> None:
    """Print an evaluation, which is written to the folder *output*, and its warnings."""
    from onnxcam.cli import show

    if as_json:
        show.json(found.to_dict())
    else:
        _print(found)
        show.where(output)
    show.warnings([*left_out(found.unreadable), *found.warnings])
    _summary(found, output).tell()


def _summary(found: Evaluation, output: Path) -> summary.RunSummary:
    images = len({row.image for row in found.rows})
    model = summary.shell(found.model or "MODEL")
    after = f"see the maps: onnxcam explain {model} IMAGE -m {found.methods[0]}"
    if len(found.methods) == 1:
        after = "compare: more methods with -m, or --baselines: a random map and a centre prior"
    elif found.truth is None:
        after = "--truth measures whether the maps lie on the object (docs/truth-formats.md)"
    return summary.RunSummary(
        summary.done_of(images, images + len(found.unreadable), "image", found.methods),
        f"{output}{os.sep}",
        found.guessed,
        _worst(found) if images > 1 else "",
        after,
    )


def _worst(found: Evaluation) -> str:
    """Return the image with the worst value of the first metric; empty if only maps of all images are checked."""
    from onnxcam.metrics import CHECKS

    metric = next((one for one in found.better if one not in CHECKS), None)
    if metric is None:
        return ""
    sign = 1 if found.better[metric] == "higher" else -1
    row = min(found.rows, key=lambda one: sign * one.values[metric])
    return f"{row.image} ({row.label or row.target}): {metric} {row.values[metric]:.3f} by {row.method}, the worst"


def _print(found: Evaluation) -> None:
    """Print a table of metrics × methods with the best in bold, and verdicts; one row per mean when piped."""
    from onnxcam.cli import show

    rows = found.summary()
    if not show.out.is_terminal:
        lines = [
            (row.metric, row.method, *("" if v is None else f"{v:.4f}" for v in (row.mean, row.low, row.high)))
            for row in rows
        ]
        show.table(("metric", "method", "mean", "low", "high"), lines)
    else:
        across = max(1, (show.out.width - 20) // _CELL)
        for start in range(0, len(found.methods), across):
            _table(found, rows, found.methods[start : start + across])
            show.out.print()
        show.out.print(_counts(rows[0]), style="dim", markup=False)
    for result in found.checks:
        style = "green" if result.passed else "red"
        show.print_err(f"{result.method}: {result.verdict}", style)


def _table(found: Evaluation, rows: list[Summary], methods: list[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from onnxcam.cli import show
    from onnxcam.metrics import CHECKS

    grid = Table(box=None, pad_edge=False, header_style="bold")
    grid.add_column("")
    for method in methods:
        grid.add_column(method)
    for metric, better in found.better.items():
        own = {row.method: row for row in rows if row.metric == metric}
        contest = metric not in CHECKS and len(own) > 1
        best = (max if better == "higher" else min)(row.mean for row in own.values()) if contest else None
        cells = [Text(_cell(own[method]), style="bold" if own[method].mean == best else "") for method in methods]
        grid.add_row(f"{metric} {'↑' if better == 'higher' else '↓'}", *cells)
    show.out.print(grid)


def _counts(row: Summary) -> str:
    if row.pictures == 1:
        return f"mean of {row.cases} maps of one image" if row.cases > 1 else "one map"
    return f"{row.cases} maps of {row.pictures} images; mean and 95 % bootstrap interval"


def _cell(row: Summary) -> str:
    interval = "" if row.low is None or row.high is None else f" [{row.low:.3f}, {row.high:.3f}]"
    return f"{row.mean:.3f}{interval}"
