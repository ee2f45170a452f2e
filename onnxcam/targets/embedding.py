"""Embeddings: how near a picture is to another one, and how far from a third."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxcam.targets.aim import DirectionAim
from onnxcam.targets.kinds import Like, Top, Wish
from onnxcam.targets.parser import quoted
from onnxcam.targets.task import Array, Goal, Look


@dataclass(frozen=True)
class Embedding:
    """A network that maps pictures to vectors; the cosine of two tells how alike they are."""

    output: str
    name: str = "an embedding"
    wishes = (Like, Top)
    examples = "like=FILE, like=FILE unlike=FILE"

    @property
    def aim(self) -> DirectionAim:
        """Return a direction among embeddings."""
        return DirectionAim(self.output)

    def goal(self, wish: Wish, look: Look) -> Goal:
        """Resolve *wish*. Without a reference it is how far the embedding is from that of a tensor of zeros."""
        if not isinstance(wish, Like):
            blank = np.zeros_like(look.feeds[look.image])
            direction = -self._unit(look.at(blank))
            note = "what makes the embedding unlike that of a tensor of zeros; like=FILE compares pictures"
            return Goal(self.aim, direction, "top", note=note)
        direction = np.zeros_like(self._unit(look)) if wish.picture is None else self._unit(look.of(wish.picture))
        if wish.unlike is not None:
            direction = direction - self._unit(look.of(wish.unlike))
        parts = [
            f"{key}={quoted(one)}" for key, one in (("like", wish.picture), ("unlike", wish.unlike)) if one is not None
        ]
        return Goal(self.aim, direction.astype(np.float32), " ".join(parts))

    def _unit(self, look: Look) -> Array:
        y = look.tensors([self.output])[0].reshape(-1).astype(np.float64)
        unit: Array = (y / max(float(np.linalg.norm(y)), 1e-12)).astype(np.float32)
        return unit
