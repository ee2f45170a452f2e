"""Merge the shards of a validation: the comparisons of all → the validation that one run over all images finds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxcam import files
from onnxcam.compare import journal_entries
from onnxcam.compare.doubt import InputTrials
from onnxcam.compare.journal import Journal, open_journal
from onnxcam.compare.layer_agreement import LayerAgreement
from onnxcam.compare.report.folder import refuse_finished
from onnxcam.compare.validation import Validation
from onnxcam.compare.validation_scope import ValidationScope
from onnxcam.errors import OutputError
from onnxcam.paths import PathLike
from onnxcam.shard_results import ShardResult, entries, left_out, read_shards
from onnxcam.text import in_message

__all__ = ["merge_validations"]


def merge_validations(folders: Sequence[PathLike], directory: PathLike, *, overwrite: bool = False) -> Validation:
    """Join the comparisons of all shards in *folders*, and conclude from them.

    The result equals that of one run over all images, with intervals over all. Its journal is written to *directory*;
    `Validation.save` writes the reports. The models are not needed, the ground truth is, where the first shard
    had it. Images and truth may have been in another folder for each shard; paths in the result are those of the first.

    Args:
        folders: Folder of each shard, in any order.
        directory: Folder of the whole validation.
        overwrite: Replace the contents of *directory*.

    Raises:
        OutputError: a shard is missing, there twice, incomplete, or of another run; or *directory* holds a finished
            validation or is one of the *folders*.
        OnnxcamError: as for `onnxcam.compare.validate.validate`.

    Example:
        >>> merge_validations(["out0", "out1", "out2"], "out").save("out")
    """
    start = time.monotonic()
    refuse_finished(Path(directory), overwrite)
    if any(files.is_same(folder, directory) for folder in folders):
        raise OutputError(f"'{in_message(directory)}' is read by this command; choose another folder with -o")
    shards = read_shards(folders, Journal.kind)
    known = shards[0].run["truth"]
    truth = None if known is None else [shards[0].own["truth"], *known[1:]]
    scope = ValidationScope.from_dict({**shards[0].run, "truth": truth})
    journal = _joined(shards, scope.images, directory, overwrite)
    first = next(shard.own for shard in shards if "trials" in shard.own)
    warnings = dict.fromkeys(text for shard in shards for text in shard.own["warnings"])
    found = scope.conclude(journal, left_out(shards), list(warnings), InputTrials.from_dict(first["trials"]))
    found.levels = [LayerAgreement(**level) for level in first["levels"]]
    found.seconds = time.monotonic() - start
    return found


def _joined(shards: Sequence[ShardResult], images: int, directory: PathLike, overwrite: bool) -> Journal:
    """Return the journal that one run over all images, on the machine of the first shard, writes to *directory*."""
    journal = open_journal(directory, _identity(shards[0].journal), overwrite, None)
    try:
        for shard, number, entry in entries(shards, images):
            if number not in journal.done:
                found = journal_entries.read(entry)
                journal.add(number, replace(found, picture=shard.path_in(shards[0], found.picture)))
    finally:
        journal.release()
    return journal


def _identity(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of the whole run, by the first line of the journal of a shard."""
    return {name: value for name, value in header.items() if name not in (Journal.key(), "shard", "batch size")}
