"""Validate on the images of one shard; `onnxcam.compare.merge` joins the shards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxcam.compare.doubt import PROBED, try_inputs
from onnxcam.compare.journal import Journal
from onnxcam.compare.layers import MAX_IMAGES
from onnxcam.compare.observer import Observer, require_classifier
from onnxcam.compare.report.folder import refuse_finished
from onnxcam.compare.validation_run import ValidationRun
from onnxcam.graph.io import ModelLike
from onnxcam.paths import PathLike
from onnxcam.shard_results import Left, ShardResult, ShardSummary
from onnxcam.shards import Shard, common_root, file_identity, pictures_identity

__all__ = ["validate_shard"]


def validate_shard(
    reference: ModelLike | Observer,
    candidate: ModelLike | Observer,
    images: Any,
    directory: PathLike,
    shard: str | Shard,
    *,
    overwrite: bool = False,
    layers: bool = False,
    **options: Any,
) -> ShardSummary:
    """Compare two models on the images of one shard; there is no verdict before the shards are merged.

    The journal in *directory* is the result; beside it, ``shard.json`` says that the shard is complete. The shard that
    holds the first image also tries other preprocessings, and compares the layers, on the first of all images.

    Args:
        reference: As for `onnxcam.compare.validate.validate`, like the others that are not named here.
        images: All images, also those of other shards.
        directory: Folder of the shard; the same call resumes an interrupted run there.
        shard: ``"i/n"``, or the shard.

    Raises:
        OnnxcamError: as for `validate`.

    Example:
        >>> validate_shard("float.onnx", "int8.onnx", "photos", "out0", "0/3").pictures
    """
    own = Shard.parse(shard) if isinstance(shard, str) else shard
    folder = Path(directory)
    refuse_finished(folder, overwrite)
    run = ValidationRun.of(reference, candidate, images, **options)
    if layers:
        require_classifier(run.task.reference, "--layers")
    if overwrite:
        ShardResult.remove(folder)
    journal = run.compare(folder, overwrite, own)
    blocks = run.blocks(own)
    truth = run.scope.truth
    alone = {"warnings": run.warnings, "truth": None if truth is None else str(truth.path)}
    if 0 in (block.start for block in blocks):
        alone |= _of_first(run, layers)
    number_of = {name: number for number, name in enumerate(run.names)}
    result = ShardResult(
        kind=Journal.kind,
        shard=own,
        journal=journal.header,
        run={
            **journal.header,
            "shard": None,
            **run.scope.as_dict(),
            "truth": None if truth is None else [file_identity(truth.path), truth.values, truth.format],
            "pictures": pictures_identity(run.names),
            "layers": layers,
        },
        left=sorted((Left(number_of[name], name, why) for name, why in run.task.unreadable), key=lambda x: x.number),
        root=common_root(run.names),
        own=alone,
        folder=folder,
    )
    result.write()
    return result.summary(sum(map(len, blocks)))


def _of_first(run: ValidationRun, layers: bool) -> dict[str, Any]:
    """Return as JSON what is found on the first of all images that can be read."""
    images = run.readable(MAX_IMAGES if layers else PROBED)
    trials = try_inputs(run.task, images[:PROBED], run.scope.requirements)
    return {
        "trials": trials.as_dict(),
        "levels": [asdict(level) for level in run.layers(images)] if layers and images else [],
    }
