"""Parts: the pictures of one file of a batch, and how their rows become that file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from onnxcam.batching import schema
from onnxcam.batching.sources import Picture
from onnxcam.batching.store import Store
from onnxcam.batching.supervisor import PictureRows

__all__ = ["BatchPart", "PartWriter"]


@dataclass(frozen=True)
class BatchPart:
    """The unit of work of every engine.

    Attributes:
        name: Its file.
        pictures: Its pictures, in the order of the source.
        columns: What the manifest says of each.
    """

    name: str
    pictures: Sequence[Picture]
    columns: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class PartWriter:
    """Writes parts to *store* in the schema *schema*. Writing one twice changes nothing.

    Attributes:
        store: The folder of the batch.
        schema: Columns of the rows.
        suffix: That of the files of overlays.
    """

    store: Store
    schema: pa.Schema
    suffix: str

    def write(self, part: BatchPart, found: Mapping[int, PictureRows]) -> None:
        """Write the rows *found*, by the numbers of the pictures, and their overlays."""
        rows = [
            {**own, **row, "number": one.number, "id": one.id, "path": one.path, **self._overlay(one, at, found)}
            for one, own in zip(part.pictures, part.columns, strict=True)
            for at, row in enumerate(found[one.number][0])
        ]
        self.store.put(part.name, schema.to_bytes(schema.table(rows, self.schema)))

    def _overlay(self, picture: Picture, at: int, found: Mapping[int, PictureRows]) -> dict[str, str]:
        """Write the overlay of a row, if there is one."""
        data = found[picture.number][1].get(at)
        if data is None:
            return {}
        name = f"overlays/{picture.number:09d}-{at}{self.suffix}"
        self.store.put(name, data)
        return {"overlay": name}
