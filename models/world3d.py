"""The world in three dimensions: solids in a cloudy, noisy volume, as a scanner would see them, with their masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

RADIUS = (0.15, 0.26)  # of the ball around a solid, over the side of the volume
SOLIDS: dict[str, Callable[[Array], Mask]] = {  # which points `[3, …]` are inside, in units of the ball around it
    "ball": lambda p: (p**2).sum(0) < 0.8**2,
    "box": lambda p: np.abs(p).max(0) < 0.58,
    "rod": lambda p: (np.hypot(p[0], p[1]) < 0.3) & (np.abs(p[2]) < 0.95),
    "ring": lambda p: (np.hypot(p[0], p[1]) - 0.68) ** 2 + p[2] ** 2 < 0.27**2,
}
LABELS = tuple(SOLIDS)


@dataclass(frozen=True)
class Solid:
    """One solid; no other shares a voxel with it."""

    label: str
    mask: Mask


@dataclass(frozen=True)
class Volume:
    """Brightness, float32 `[D, H, W]`, about 0 to 1, and the solids in it."""

    image: Array
    objects: tuple[Solid, ...]

    def mask(self, label: str) -> Mask:
        """Where any solid of this class is; nowhere if there is none."""
        nowhere = np.zeros(self.image.shape, bool)
        return np.logical_or.reduce([o.mask for o in self.objects if o.label == label] or [nowhere])


def sample(rng: np.random.Generator, size: int = 32) -> Volume:
    """Draw one to three solids, where they find room, each brighter than what is around it."""
    image = 0.15 + 0.3 * _cloud(rng, size)
    grid = ((np.mgrid[:size, :size, :size] + 0.5) / size).astype(np.float32)
    objects = []
    for place, radius in _places(rng, int(rng.integers(1, 4))):
        label = str(rng.choice(LABELS))
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
        mask = SOLIDS[label](np.tensordot(turn, (grid - place[:, None, None, None]) / radius, 1))
        image[mask] += rng.uniform(0.3, 0.5)
        objects.append(Solid(label, mask))
    image += rng.uniform(0.02, 0.12) * rng.standard_normal(image.shape)
    return Volume(image.astype(np.float32), tuple(objects))


def _places(rng: np.random.Generator, count: int, tries: int = 40) -> list[tuple[Array, float]]:
    """Centres and radii of balls that do not touch."""
    places: list[tuple[Array, float]] = []
    for _ in range(tries):
        radius = float(rng.uniform(*RADIUS))
        place = rng.uniform(radius, 1 - radius, 3).astype(np.float32)
        if all(np.linalg.norm(place - p) > radius + r for p, r in places):
            places.append((place, radius))
        if len(places) == count:
            break
    return places


def _cloud(rng: np.random.Generator, size: int, cells: int = 4) -> Array:
    """A coarse random lattice, linearly enlarged along each axis."""
    field = rng.random((cells, cells, cells))
    at = np.linspace(0, cells - 1, size)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))
    return np.einsum("abc,xa,yb,zc->xyz", field, weights, weights, weights, optimize=True).astype(np.float32)
