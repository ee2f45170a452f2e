"""Where the objects of one picture are, as comparing asks for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import TruthError
from onnxcam.metrics.truth import Label, Region, Truth
from onnxcam.targets.classification import class_index


class Known(NamedTuple):
    """What the truth knows of one class in one picture: its mask, the picture's classes, why there is no mask."""

    mask: NDArray[np.bool_] | None
    classes: Collection[int] | None
    why: str


@dataclass(frozen=True)
class Objects:
    """The objects in one picture; none, and ``why``, where the truth does not tell."""

    regions: Mapping[Label, Region] = field(default_factory=dict)
    why: str = ""

    @classmethod
    def of(cls, truth: Truth | None, picture: str, size: tuple[int, int]) -> Objects:
        """Return what *truth*, if there is any, says of a picture of *size* (H, W)."""
        try:
            return cls({} if truth is None else truth.regions(picture, size))
        except TruthError as error:
            return cls(why=f"no energy: {error}")

    def known(self, target: int, count: int, names: Sequence[str] | None) -> Known:
        """Return what is known of class *target* among *count*, called *names*."""
        if not self.regions:
            return Known(None, None, self.why)
        named = [label for label in self.regions if label is not None]
        if not named:
            return Known(self.regions[None].mask, None, "")
        indices = {label: class_index(label, count, names) for label in named}
        masks = [self.regions[label].mask for label, index in indices.items() if index == target]
        if not masks:
            return Known(None, set(indices.values()), f"no energy: the truth has no object of class {target}")
        return Known(np.logical_or.reduce(masks), set(indices.values()), "")
