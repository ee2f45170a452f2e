"""What a model looks at, pictures or volumes: how they are read, become tensors, and maps lie over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcam.media import heatmap, volume
from onnxcam.media import image as pictures
from onnxcam.media.frame import Frame
from onnxcam.media.resample import resized
from onnxcam.media.volume import Volume, VolumeScaling
from onnxcam.preprocess import Preprocess
from onnxcam.structure.layout import Grid

Array = NDArray[Any]


class Medium(Protocol):
    """One kind of thing to look at."""

    def read(self, source: Any) -> Any:
        """Return what is in a file, or an array, as it is shown to people."""

    def array(self, source: Any) -> Array:
        """Return the numbers in a file."""

    def tensor(self, seen: Any) -> Array:
        """Return the model's tensor [1, …] of it."""

    def size(self, seen: Any) -> tuple[int, ...]:
        """Return the lengths of its axes of space."""

    def frame(self, seen: Any) -> Frame | None:
        """Return which part of it the tensor shows, None where that is all."""

    def enlarge(self, flat: Array, seen: Any) -> NDArray[np.float32]:
        """Return a map of the tensor over all of it, at its size."""


@dataclass(frozen=True)
class Pictures:
    """Pictures, uint8 [H, W, 3]."""

    preprocessing: Callable[[], Preprocess]  # found when the first one comes

    def read(self, source: Any) -> NDArray[np.uint8]:
        """Return the picture; ImageError where it is none."""
        return pictures.read(source)

    def array(self, source: Any) -> NDArray[np.uint8]:
        """Return the picture."""
        return pictures.read(source)

    def tensor(self, seen: NDArray[np.uint8]) -> Array:
        """Preprocess the picture."""
        return self.preprocessing()(seen)

    def size(self, seen: NDArray[np.uint8]) -> tuple[int, ...]:
        """Return height and width."""
        return seen.shape[:2]

    def frame(self, seen: NDArray[np.uint8]) -> Frame:
        """Return the rectangle that the tensor covers."""
        return self.preprocessing().frame(*seen.shape[:2])

    def enlarge(self, flat: Array, seen: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the map bilinearly enlarged, zero where the tensor shows nothing."""
        return heatmap.enlarge(flat, self.frame(seen), (seen.shape[0], seen.shape[1]))


@dataclass
class Volumes:
    """Volumes, [D, H, W]."""

    layout: Grid
    dtype: np.dtype[Any]
    spec: object
    warn: Callable[[str], None]

    def read(self, source: Any) -> Volume:
        """Return the volume; ImageError where it is none."""
        return volume.read(source)

    def array(self, source: Any) -> Array:
        """Return the voxels."""
        return volume.read(source).data

    def tensor(self, seen: Volume) -> Array:
        """Scale the volume; how is guessed by the first one, and said."""
        scaling = volume.scaling(self.spec, self.dtype, self.layout.channel)
        if scaling is None:
            scaling = self._guess(seen)
        return scaling(seen.data)

    def size(self, seen: Volume) -> tuple[int, ...]:
        """Return depth, height and width."""
        return seen.data.shape

    def frame(self, seen: Volume) -> None:
        """The tensor shows all of a volume."""

    def enlarge(self, flat: Array, seen: Volume) -> NDArray[np.float32]:
        """Return the map trilinearly enlarged."""
        large: NDArray[np.float32] = resized(flat.astype(np.float32), seen.data.shape).astype(np.float32)
        return large

    def _guess(self, seen: Volume) -> VolumeScaling:
        guessed = volume.guess(seen.data, self.dtype, self.layout.channel)
        self.spec = guessed.kind
        self.warn(
            f"the preprocessing is a guess: {guessed.kind!r}, because the volume is {seen.data.dtype} from "
            f"{seen.data.min():g} to {seen.data.max():g}; state preprocess= (--preprocess) as one of "
            f"{', '.join(volume.SCALINGS)}"
        )
        return guessed
