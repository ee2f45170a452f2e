"""Merge the shards of an evaluation: the measurements of all → the evaluation that one run over all images finds."""

from __future__ import annotations

from collections.abc import Sequence

from onnxcam.metrics.dataset import none_measured
from onnxcam.metrics.evaluate_shard import SHARED
from onnxcam.metrics.measurements import EvaluationJournal, assembled, measurements_of
from onnxcam.metrics.results import Evaluation
from onnxcam.paths import PathLike
from onnxcam.shard_results import entries, left_out, read_shards

__all__ = ["merge_evaluations"]


def merge_evaluations(folders: Sequence[PathLike]) -> Evaluation:
    """Return the evaluation that one run over the images of all shards in *folders* finds, with intervals over all.

    Model, images and ground truth are not needed. They may have been in another folder for each shard; paths in the
    result are those of the first.

    Raises:
        OutputError: a shard is missing, there twice, incomplete, or of another run.
        ImageError: no image could be measured.

    Example:
        >>> merge_evaluations(["out0", "out1"]).save("out")
    """
    shards = read_shards(folders, EvaluationJournal.kind)
    run = shards[0].run
    unreadable = left_out(shards)
    measured = {
        number: measurements_of(entry).moved(shard.path_in(shards[0], entry["image"]))
        for shard, number, entry in entries(shards, run["images"], each=len(run["methods"]))
    }
    if not measured:
        raise none_measured(run["images"], unreadable)
    found = Evaluation(**{one: run[one] for one in SHARED}, **shards[0].own, unreadable=unreadable)
    return assembled(found, (measured[number] for number in sorted(measured)))
