"""Batches over pictures with and without a plant, as `onnxcam batch` writes them: worlds for `onnxcam audit`.

One network sees all worlds of a seed, and pictures without a plant are the same in all of them, so they are explained
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.planted import KINDS, Plant, network, plant_of, scene
from models.world import LABELS, Image, Mask
from onnxcam.batching import schema
from onnxcam.batching.measures import look_of
from onnxcam.batching.rows import TrueContent, row_of
from onnxcam.batching.schema import BatchRow
from onnxcam.explainer.explainer import Explainer
from onnxcam.metrics.truth import Region

__all__ = ["CLASSES", "PlantedWorlds"]

CLASSES = LABELS[:4]
SHARE = 0.05  # of the pictures of a class carry its plant


@dataclass(frozen=True)
class _Shown:
    name: str
    label: str
    image: Image
    mask: Mask


class PlantedWorlds:
    """The worlds of one seed: a clean one, and one for each of *kinds*.

    Attributes:
        plants: By kind.
        planted: Ids of the pictures that carry the plant, by kind.
    """

    def __init__(self, seed: int, count: int, kinds: Sequence[str] = KINDS) -> None:
        rng = np.random.default_rng([18, seed])
        self.plants = {kind: plant_of(kind, str(rng.choice(CLASSES)), rng) for kind in KINDS}
        self._explainer = Explainer(network(list(self.plants.values())), method="gradcam", features=True)
        scenes = [(label, number, scene(label, rng)) for label in CLASSES for number in range(count)]
        clean = [_Shown(f"{label}/{n}.png", label, one.image, one.mask(label)) for label, n, one in scenes]
        carriers = {kind: self._carriers(clean, plant, count, rng) for kind, plant in self.plants.items()}
        self.planted = {kind: {one.name for one in shown} for kind, shown in carriers.items()}
        self._images = {one.name: one.image for one in clean}
        self._clean = {one.name: self._row(one) for one in clean}
        self._rows = {kind: {one.name: self._row(one) for one in carriers[kind]} for kind in kinds}
        self._carriers_of = {kind: {one.name: one.image for one in carriers[kind]} for kind in kinds}

    @staticmethod
    def _carriers(clean: Sequence[_Shown], plant: Plant, count: int, rng: np.random.Generator) -> list[_Shown]:
        own = [one for one in clean if one.label == plant.label]
        chosen = rng.choice(len(own), round(SHARE * count), replace=False)
        return [_Shown(own[at].name, plant.label, plant.on(own[at].image, rng), own[at].mask) for at in chosen]

    def _row(self, one: _Shown) -> BatchRow:
        content = TrueContent([one.label], {one.label: Region(one.mask, ())}, None)
        (explanation,) = [self._explainer(one.image)]
        row = row_of(explanation, content, self._explainer)
        return {**row, **look_of(one.image), "id": one.name, "path": one.name, "map": None}

    def rows(self, kind: str | None) -> list[BatchRow]:
        """Return the rows of the world of *kind*; None: the clean one."""
        found = {**self._clean, **(self._rows[kind] if kind else {})}
        return [{**row, "number": number} for number, row in enumerate(found.values())]

    def write(self, folder: Path, kind: str | None, *, pictures: bool = False) -> None:
        """Write the batch of a world to *folder*, and on request its pictures to the folder beside."""
        folder.mkdir(parents=True, exist_ok=True)
        import pyarrow as pa

        wanted = schema.schema(pa.schema([]), {"source": {"pictures": len(self._clean)}})
        (folder / "part-000000.parquet").write_bytes(schema.to_bytes(schema.table(self.rows(kind), wanted)))
        (folder / "batch.json").write_text('{"format": "onnxcam.batch", "schema": 1}\n', "utf-8")
        for name, image in {**self._images, **(self._carriers_of[kind] if kind else {})}.items() if pictures else ():
            path = folder.parent / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image[..., ::-1])
