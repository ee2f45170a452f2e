"""Modalities, images and volumes: how they are read, preprocessed, and how maps are enlarged to their size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ImageError, PreprocessError
from onnxcam.media import heatmap, volume
from onnxcam.media import image as images
from onnxcam.media.frame import Frame
from onnxcam.media.resample import placed, resized
from onnxcam.media.volume import Volume, VolumeScaling
from onnxcam.metadata.reading import Part
from onnxcam.preprocess import ResolvedPreprocess
from onnxcam.structure.layout import GridLayout
from onnxcam.structure.place import Place

__all__ = ["Array", "ImageModality", "Modality", "VolumeModality", "no_volume"]

Array = NDArray[Any]


class Modality(Protocol):
    """One kind of input: *seen* is what `read` returned."""

    @property
    def reading(self) -> Part:
        """How images or volumes become tensors, and how that is known."""

    @property
    def guess(self) -> str:
        """For messages: that the preprocessing that was used is a guess; empty where it is none."""

    @property
    def rate(self) -> Part | None:
        """The samples in a second that a model of signals takes, and how that is known; None where nothing says it."""

    def decodes(self, path: str) -> bool:
        """Return whether the file *path* is an image, which may be decoded before `read`."""

    def read(self, source: Any) -> Any:
        """Return the content of a file, or of an array; ImageError where it is of another kind."""

    def array(self, source: Any) -> Array:
        """Return the pixels or voxels of a file or an array."""

    def tensor(self, seen: Any) -> Array:
        """Return the model's input tensor, [1, …]."""

    def pixels(self, seen: Any) -> Array:
        """Return the pixels [H, W, 3] or voxels [D, H, W]."""

    def notes(self, seen: Any) -> Sequence[str]:
        """Return what was read otherwise than a user may think."""

    def affine(self, seen: Any) -> NDArray[np.float64] | None:
        """Return the position in the scanner, [4, 4]; None where it is not known."""

    def size(self, seen: Any) -> tuple[int, ...]:
        """Return the lengths of the spatial axes."""

    def frame(self, seen: Any) -> Frame | None:
        """Return the part that the tensor covers; None for all of it."""

    def view(self, seen: Any) -> Frame | None:
        """Return the part of the image, or of each frame, that the tensor covers; None for all of it, or no image."""

    def enlarge(
        self, flat: Array, seen: Any, place: Place | None, tensor: tuple[int, ...], size: tuple[int, ...] | None = None
    ) -> NDArray[np.float32]:
        """Return a map of the image or volume, resized to *size*; None is its own.

        The map lies at *place* in a tensor of the size *tensor*, and covers it for None.
        """


_STRETCHED = 4.0
"""An image whose sides are resized by factors of a larger ratio is hardly one that a model takes."""
_PREPROCESSING = "preprocessing"
"""The name of the part of a reading."""


def _guess(part: Part) -> str:
    return f"the preprocessing is a guess ({part.value}): state it (--preprocess)" if part.guessed else ""


@dataclass(frozen=True)
class ImageModality:
    """Images, uint8 [H, W, 3] RGB.

    Attributes:
        resolve: Finds the preprocessing; it is called when the first image is preprocessed.
        warn: Takes warnings about images.
    """

    resolve: Callable[[], ResolvedPreprocess]
    warn: Callable[[str], None]

    @property
    def reading(self) -> Part:
        """The preprocessing."""
        found = self.resolve()
        return Part(_PREPROCESSING, str(found.preprocess), found.source, found.why)

    @property
    def guess(self) -> str:
        """That the preprocessing is a guess; empty where it is none, or the input takes no image."""
        try:
            return _guess(self.reading)
        except PreprocessError:
            return ""

    @property
    def rate(self) -> None:
        """Images have no rate."""

    def decodes(self, path: str) -> bool:
        """Every file is an image."""
        return True

    def read(self, source: Any) -> NDArray[np.uint8]:
        """Return the image; ImageError where it cannot be read."""
        return images.read(source, self.warn)

    def array(self, source: Any) -> NDArray[np.uint8]:
        """Return the image."""
        return images.read(source)

    def tensor(self, seen: NDArray[np.uint8]) -> Array:
        """Preprocess the image."""
        return self.resolve().preprocess(seen)

    def pixels(self, seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image."""
        return seen

    def notes(self, seen: NDArray[np.uint8]) -> Sequence[str]:
        """Return the warnings about the preprocessing, and that it distorts the image."""
        try:
            found = self.resolve()
        except PreprocessError:
            return ()
        times = found.preprocess.stretch(*seen.shape[:2])
        if times < _STRETCHED:
            return found.warnings
        return (*found.warnings, f"the image is stretched {times:.1f} times in one direction to fit the model's input")

    def affine(self, seen: NDArray[np.uint8]) -> None:
        """Images have no position in a scanner."""

    def size(self, seen: NDArray[np.uint8]) -> tuple[int, ...]:
        """Return height and width."""
        return seen.shape[:2]

    def frame(self, seen: NDArray[np.uint8]) -> Frame:
        """Return the rectangle that the tensor covers."""
        return self.resolve().preprocess.frame(*seen.shape[:2])

    def view(self, seen: NDArray[np.uint8]) -> Frame:
        """Return the rectangle that the tensor covers."""
        return self.frame(seen)

    def enlarge(
        self,
        flat: Array,
        seen: NDArray[np.uint8],
        place: Place | None,
        tensor: tuple[int, ...],
        size: tuple[int, ...] | None = None,
    ) -> NDArray[np.float32]:
        """Return the map resized bilinearly, zero outside the rectangle that the network sees."""
        height, width = size or seen.shape[:2]
        frame = self.frame(seen).scaled(width / seen.shape[1], height / seen.shape[0])
        return heatmap.at_place(flat, frame, (height, width), place, tensor)


@dataclass
class VolumeModality:
    """Volumes, [D, H, W].

    Attributes:
        layout: The layout of the model's input.
        dtype: Its dtype.
        spec: How volumes are scaled; None guesses from the first one.
        warn: Takes the warning about a guess.
        source: How *spec* is known, a key of `onnxcam.metadata.reading.SOURCES`.
    """

    layout: GridLayout
    dtype: np.dtype[Any]
    spec: object
    warn: Callable[[str], None]
    source: str = "guess"
    lengths: tuple[object, ...] = ()
    """The lengths that the network takes, no number for an open one; empty for any, window by window."""
    other: str = ""
    """What to do with a model of clips of video or of several channels; empty for a model of volumes."""
    joins: Callable[[], bool] = lambda: True
    """Whether the network's output over windows can be joined."""

    @property
    def reading(self) -> Part:
        """The scaling; before the first volume the guess is open."""
        return Part(
            _PREPROCESSING, str(self.spec or f"one of {', '.join(volume.SCALINGS)}, by the volume"), self.source
        )

    @property
    def guess(self) -> str:
        """That the scaling is a guess; empty where it is none, or no volume was seen."""
        return _guess(self.reading) if self.spec else ""

    @property
    def rate(self) -> None:
        """Volumes have no rate."""

    def decodes(self, path: str) -> bool:
        """No file is an image."""
        return False

    def read(self, source: Any) -> Volume:
        """Return the volume; ImageError where it cannot be read, or the model takes something else."""
        if self.other:
            raise ImageError(self.other)
        return volume.read(source)

    def array(self, source: Any) -> Array:
        """Return the voxels."""
        return self.read(source).data

    def tensor(self, seen: Volume) -> Array:
        """Scale the voxels; without a given scaling guess it from this volume, and warn.

        ImageError where the network takes volumes of another size.
        """
        self._require_size(seen.data.shape)
        scaling = volume.scaling(self.spec, self.dtype, self.layout.channel)
        if scaling is None:
            scaling = self._guess(seen)
        return scaling(seen.data)

    def pixels(self, seen: Volume) -> Array:
        """Return the voxels."""
        return seen.data

    def notes(self, seen: Volume) -> Sequence[str]:
        """There is nothing to say."""
        return ()

    def affine(self, seen: Volume) -> NDArray[np.float64] | None:
        """Return the position in the scanner, from a NIfTI file."""
        return seen.affine

    def size(self, seen: Volume) -> tuple[int, ...]:
        """Return depth, height and width."""
        return seen.data.shape

    def frame(self, seen: Volume) -> None:
        """The tensor covers the whole volume."""

    def view(self, seen: Volume) -> None:
        """The tensor covers the whole volume."""

    def enlarge(
        self,
        flat: Array,
        seen: Volume,
        place: Place | None,
        tensor: tuple[int, ...],
        size: tuple[int, ...] | None = None,
    ) -> NDArray[np.float32]:
        """Return the map resized trilinearly; the tensor has the volume's size."""
        cells, own = flat.astype(np.float32), seen.data.shape
        if place is not None:
            cells = placed(place.upright(cells), place.intervals, place.seen, own)
        wanted = size or own
        return np.asarray(cells if cells.shape == wanted else resized(cells, wanted), np.float32)

    def _require_size(self, size: tuple[int, ...]) -> None:
        if any(isinstance(n, int) and n != own for n, own in zip(self.lengths, size, strict=False)):
            wanted = [n if isinstance(n, int) else own for n, own in zip(self.lengths, size, strict=True)]
            takes, own = (" × ".join(map(str, one)) for one in (wanted, size))
            window = ",".join(map(str, wanted))
            windows = f"`onnxcam explain` explains it window by window (--window {window}), or " * self.joins()
            raise ImageError(f"the model takes volumes of {takes}, and this one is {own}; {windows}resample it")

    def _guess(self, seen: Volume) -> VolumeScaling:
        guessed = volume.guess(seen.data, self.dtype, self.layout.channel)
        self.spec = guessed.kind
        self.warn(
            f"the preprocessing is a guess: {guessed.kind!r}, because the volume is {seen.data.dtype} from "
            f"{seen.data.min():g} to {seen.data.max():g}; state preprocess= (--preprocess) as one of "
            f"{', '.join(volume.SCALINGS)}"
        )
        return guessed


def no_volume(shape: Sequence[object], channel: int) -> str:
    """Return what to do with a model whose input *shape* of rank 5 is no volume of one channel; empty if it is one.

    *channel* is the axis of channels by its layout. Three channels are those of a clip of video.
    """
    colours = next((axis for axis in (1, 2, 4) if shape[axis] == 3), None)
    count = shape[channel]
    if count == 1 or (colours is None and not isinstance(count, int)):
        return ""
    frames = {1: shape[2], 2: shape[1], 4: shape[1]}.get(colours or 0)
    if colours is None:
        return (
            f"the model takes volumes of {count} channels, and onnxcam explains volumes of one: export it with the "
            "other channels fixed inside"
        )
    wrapper = "x[:, :, None].repeat(1, 1, T, 1, 1)" if colours == 1 else "x[:, None].repeat(1, T, 1, 1, 1)"
    return (
        f"the model takes clips of {frames if isinstance(frames, int) else 'several'} frames, and onnxcam explains "
        f"single images: export it for one image that is repeated inside, model({wrapper}) with T frames"
    )
