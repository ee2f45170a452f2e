"""``onnxcam merge``: join the shards of a run of batch, validate or evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    folders: Annotated[
        list[str], typer.Argument(help="Folders, or addresses, that hold all shards of one run.", show_default=False)
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Output folder; of a batch also an address.")] = (
        "onnxcam-merged"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    overwrite: options.ReplaceOption = False,
) -> None:
    """Join the shards of batch, validate or evaluate. The result is that of one run over all pictures.

    Missing parts, parts that are there twice, and parts of another run are refused.
    """
    from onnxcam.shard_results import shard_kind

    kind = shard_kind(folders[0])
    if kind == "validation":
        _validation(folders, Path(output), as_json=as_json, overwrite=overwrite)
    elif kind == "evaluation":
        _evaluation(folders, Path(output), as_json=as_json, overwrite=overwrite)
    else:
        _batch(folders, output, as_json=as_json, overwrite=overwrite)


def _validation(folders: list[str], output: Path, *, as_json: bool, overwrite: bool) -> None:
    from onnxcam.cli import verdict
    from onnxcam.compare.merge import merge_validations

    validation = merge_validations(folders, output, overwrite=overwrite)
    verdict.finish(validation, output, overwrite=overwrite, as_json=as_json)


def _evaluation(folders: list[str], output: Path, *, as_json: bool, overwrite: bool) -> None:
    from onnxcam.cli import evaluate
    from onnxcam.metrics.merge import merge_evaluations
    from onnxcam.metrics.report import Report

    with Report(output, overwrite=overwrite) as report:
        found = merge_evaluations(folders)
        report.write(found)
    evaluate.finish(found, output, as_json=as_json)


def _batch(folders: list[str], output: str, *, as_json: bool, overwrite: bool) -> None:
    from onnxcam.batching.merge import merge
    from onnxcam.cli import batch

    batch.finish(merge(folders, output, overwrite=overwrite), output, as_json=as_json)
