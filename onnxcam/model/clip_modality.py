"""The modality of clips of video: networks [N, C, T, H, W] and [N, T, C, H, W] of three colours."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ImageError
from onnxcam.media import heatmap, video
from onnxcam.media.frame import Frame
from onnxcam.media.resample import placed, resized
from onnxcam.media.video import Clip
from onnxcam.metadata.reading import Part
from onnxcam.model.modality import Array
from onnxcam.preprocess import ResolvedPreprocess
from onnxcam.structure.layout import GridLayout
from onnxcam.structure.place import Place

__all__ = ["FRAMES", "ClipModality", "clip_length"]

FRAMES = 16
"""Frames that are taken where neither the model nor the user says how many."""


@dataclass
class ClipModality:
    """Clips of video, uint8 [T, H, W, 3] RGB.

    Attributes:
        layout: The layout of the model's input; the first axis of space is time.
        length: The number of frames that the model takes; None where it is open.
        resolve: Finds the preprocessing of a frame.
        frames: Which frames are taken, see `onnxcam.media.video.numbers`.
        single: What to do with a single image.
    """

    layout: GridLayout
    length: int | None
    resolve: Callable[[], ResolvedPreprocess]
    frames: int | str | None
    single: str

    @property
    def reading(self) -> Part:
        """The preprocessing of a frame."""
        found = self.resolve()
        return Part("preprocessing", str(found.preprocess), found.source, found.why)

    @property
    def rate(self) -> None:
        """The frames are taken as the user says."""

    @property
    def guess(self) -> str:
        """That the preprocessing is a guess; empty where it is none."""
        part = self.reading
        return f"the preprocessing is a guess ({part.value}): state it (--preprocess)" if part.guessed else ""

    def decodes(self, path: str) -> bool:
        """No file is an image."""
        return False

    def read(self, source: Any) -> Clip:
        """Return the clip in a video file or an array [T, H, W, 3]; ImageError where it does not fit."""
        if isinstance(source, Clip):
            return source
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim != 4 or source.shape[-1] != 3 or len(source) == 0:
                raise ImageError(f"{self.single}, or give a video file or a clip, uint8 [T, H, W, 3]")
            return self._counted(Clip(source, tuple(range(len(source)))), "the array")
        if not video.is_video(source):
            raise ImageError(f"{os.fspath(source)}: is no video; {self.single}, or give a video file")
        taken, chosen, rate = video.sampled(source, self.frames, self.length or FRAMES)
        notes = tuple(filter(None, [video.few(source, self.frames, len(chosen))]))
        clip = Clip(np.stack(list(taken)), tuple(chosen), rate, notes)
        return self._counted(clip, os.fspath(source))

    def _counted(self, clip: Clip, name: str) -> Clip:
        if self.length not in (None, len(clip.frames)):
            raise ImageError(
                f"{name}: {len(clip.frames)} frames are taken, and the model takes {self.length}; choose others "
                "(frames=, --frames)"
            )
        return clip

    def array(self, source: Any) -> Array:
        """Return the frames."""
        return self.read(source).frames

    def tensor(self, seen: Clip) -> Array:
        """Preprocess each frame, and join them in the model's order of axes."""
        how = self.resolve().preprocess
        x = np.concatenate([how(frame) for frame in seen.frames]).swapaxes(0, 1)  # [C, T, H, W]
        order = [self.layout.channel, *self.layout.space]
        return np.ascontiguousarray(x.transpose([order.index(axis) for axis in range(1, 5)])[None])

    def pixels(self, seen: Clip) -> Array:
        """Return the frames."""
        return seen.frames

    def notes(self, seen: Clip) -> Sequence[str]:
        """Return how frames were sampled, and the warnings about the preprocessing."""
        return (*seen.notes, *self.resolve().warnings)

    def affine(self, seen: Clip) -> None:
        """Clips have no position in a scanner."""

    def size(self, seen: Clip) -> tuple[int, ...]:
        """Return the number of frames, height and width."""
        return seen.frames.shape[:3]

    def frame(self, seen: Clip) -> None:
        """Targets of a place in the clip are those of the tensor."""

    def view(self, seen: Clip) -> Frame:
        """Return the rectangle of each frame that the tensor covers."""
        return self.resolve().preprocess.frame(*seen.frames.shape[1:3])

    def enlarge(
        self,
        flat: Array,
        seen: Clip,
        place: Place | None,
        tensor: tuple[int, ...],
        size: tuple[int, ...] | None = None,
    ) -> NDArray[np.float32]:
        """Return the map resized linearly along time, and in each frame as that of an image."""
        count, *sides = size or seen.frames.shape[:3]
        cells = flat.astype(np.float32)
        if place is not None:
            cells = placed(place.upright(cells), place.intervals, place.seen, tensor)
        timed = resized(cells, (count, *cells.shape[1:]))
        height, width = seen.frames.shape[1:3]
        frame = self.view(seen).scaled(sides[1] / width, sides[0] / height)
        return np.stack([heatmap.enlarge(np.ascontiguousarray(one), frame, (sides[0], sides[1])) for one in timed])


def clip_length(shape: Sequence[object], layout: GridLayout) -> int | None:
    """Return the number of frames that an input of *shape* takes; None where it is open."""
    length = shape[layout.space[0]]
    return length if isinstance(length, int) and length > 0 else None
