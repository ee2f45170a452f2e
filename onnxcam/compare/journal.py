"""Journal of image comparisons on disk, so that an interrupted validation can resume; see `onnxcam.journal`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxcam import journal
from onnxcam.compare import journal_entries as entries
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.errors import OnnxcamError
from onnxcam.journal import FILE, SYNC

__all__ = ["FILE", "SCHEMA", "SYNC", "Journal", "discarding", "open_journal"]

SCHEMA = 4


class Journal(journal.RunJournal[ImageComparison]):
    """Image comparisons of one validation, in the order of the images. Each is read from disk on access.

    Example:
        >>> journal = Journal("out/journal.jsonl", {"reference": "float.onnx", "candidate": "int8.onnx"})
    """

    kind, schema = "validation", SCHEMA

    def _written(self, result: ImageComparison) -> dict[str, Any]:
        return entries.written(result)

    def _result(self, entry: Mapping[str, Any]) -> ImageComparison:
        return entries.read(entry)

    def _picture(self, result: ImageComparison) -> str:
        return result.picture


def open_journal(
    directory: str | os.PathLike[str] | None, identity: dict[str, Any], overwrite: bool, names: Sequence[str] | None
) -> Journal:
    """Open the journal in *directory*; without one, a temporary journal. *names* as for `RunJournal`."""
    if directory is None:
        return Journal(None, identity)
    return Journal(Path(directory) / FILE, identity, overwrite=overwrite, names=names)


@contextmanager
def discarding(journal: Journal) -> Iterator[None]:
    """Remove *journal*, which is complete, if nothing can be concluded: a repeated run would end in the same error."""
    try:
        yield
    except OnnxcamError:
        journal.discard()
        raise
