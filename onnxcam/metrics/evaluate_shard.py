"""Evaluate on the images of one shard; `onnxcam.metrics.merge` joins the shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxcam.graph.io import ModelLike
from onnxcam.journal import FILE
from onnxcam.metrics.evaluation_run import EvaluationRun
from onnxcam.metrics.measurements import EvaluationJournal
from onnxcam.paths import PathLike
from onnxcam.progress import Progress, Told, quiet, untold
from onnxcam.shard_results import Left, ShardResult, ShardSummary
from onnxcam.shards import Shard, common_root, file_identity, pictures_identity

__all__ = ["SHARED", "evaluate_shard"]

SHARED = ("preprocess", "batch_size", "seed", "settings", "better", "warnings", "layers")
"""Fields of an evaluation that are equal in all shards."""


def evaluate_shard(
    model: ModelLike,
    images: Sequence[PathLike],
    directory: PathLike,
    shard: str | Shard,
    *,
    overwrite: bool = False,
    progress: Progress = quiet,
    told: Told = untold,
    **options: Any,
) -> ShardSummary:
    """Measure the quality of maps on the images of one shard; `merge_evaluations` finds means and intervals of all.

    The journal in *directory* is the result; beside it, ``shard.json`` says that the shard is complete.

    Args:
        model: As for `onnxcam.metrics.evaluate`, like *progress*, *told* and *options*.
        images: All images, also those of other shards.
        directory: Folder of the shard; the same call resumes an interrupted run there.
        shard: ``"i/n"``, or the shard.
        overwrite: Discard what the folder holds.

    Raises:
        MetricError: a sanity check is asked for; it needs all images at once.
        OnnxcamError: as for `onnxcam.metrics.evaluate`.

    Example:
        >>> evaluate_shard("model.onnx", ["cat.jpg", "dog.jpg"], "out0", "0/2").pictures
    """
    own = Shard.parse(shard) if isinstance(shard, str) else shard
    folder = Path(directory)
    run = EvaluationRun.of(model, images, shard=own, **options)
    names = [os.fspath(name) for name in run.dataset.images]
    identity = {**run.identity(), "shard": str(own)}
    methods: list[str] = identity["methods"]
    if overwrite:
        ShardResult.remove(folder)
    journal = EvaluationJournal(folder / FILE, identity, overwrite=overwrite, names=names * len(methods))
    try:
        for number, measured in run.measure(progress, frozenset(journal.done), told):
            journal.add(number, measured)
    except BaseException:
        journal.leave()
        raise
    journal.close()
    truth = run.empty.truth
    number_of = {name: number for number, name in enumerate(names)}
    result = ShardResult(
        kind=EvaluationJournal.kind,
        shard=own,
        journal=journal.header,
        run={
            **journal.header,
            "shard": None,
            "images": len(names),
            **{one: getattr(run.empty, one) for one in SHARED},
            "truth": truth and {**truth, "path": file_identity(truth["path"])},
            "pictures": pictures_identity(names),
        },
        left=[Left(number_of[name], name, why) for name, why in run.dataset.unreadable],
        root=common_root(names),
        own={"model": run.empty.model, "truth": truth},
        folder=folder,
    )
    result.write()
    return result.summary(sum(map(len, run.dataset.numbers)))
