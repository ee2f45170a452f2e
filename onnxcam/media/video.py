"""Videos: frames of a file, sampled as stated; the frames of a clip with their maps, as pictures and as a video."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import ImageError, OutputError, PreprocessError
from onnxcam.media import heatmap, readable, signal_plot
from onnxcam.media.image import RgbImage
from onnxcam.media.video_frames import SUFFIXES, frame_name, no_video
from onnxcam.stderr import silence
from onnxcam.text import in_message

__all__ = [
    "FRAMES",
    "LARGEST",
    "MOST",
    "Clip",
    "encode",
    "few",
    "frames_of",
    "is_video",
    "numbers",
    "overlay",
    "sampled",
    "small",
    "weights",
]

FRAMES = 32
"""Frames that are taken where the user does not say how many."""
MOST = 512
"""More frames are refused: all that are explained are kept until the video is written."""
LARGEST = 480
"""The longer side, in pixels, of the frames that are kept and drawn."""
_SHOWN = 8
"""Frames of a drawing."""
_SLOWEST = 4.0  # frames in a second of a written video


@dataclass(frozen=True)
class Clip:
    """Frames, uint8 [T, H, W, 3] RGB.

    Attributes:
        frames: The frames, for a drawing smaller than in the file.
        places: Their numbers in the file.
        rate: The file's frames in a second; None for an array.
        notes: How they were sampled.
        scores: The score of the target in each frame, of a network of images; empty for one of clips.
    """

    frames: NDArray[np.uint8]
    places: tuple[int, ...]
    rate: float | None = None
    notes: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    @property
    def times(self) -> NDArray[np.float64]:
        """The time of each frame, in seconds where the rate is known, else its number."""
        return np.asarray(self.places, np.float64) / (self.rate or 1.0)

    @property
    def unit(self) -> str:
        """The unit of `times`."""
        return "seconds" if self.rate else "frame"


def is_video(source: object) -> bool:
    """Return whether *source* is the name of a video file."""
    return isinstance(source, str | os.PathLike) and Path(source).suffix.lower() in SUFFIXES


def numbers(wanted: int | str | None, count: int, rate: float, default: int) -> list[int]:
    """Return the numbers of the frames to take of *count*: so many, spread evenly; ``stride=N``; or ``fps=N``.

    PreprocessError for another notation, or more than `MOST` frames.
    """
    found = re.fullmatch(r"\s*(?:(stride|fps)\s*=\s*)?(\d+(?:\.\d+)?)\s*", str(default if wanted is None else wanted))
    value = float(found[2]) if found is not None else 0
    if found is None or value <= 0 or (found[1] != "fps" and value != int(value)):
        raise PreprocessError(
            f"the frames are {wanted!r}; give their number, such as 16, or stride=5, every fifth, or fps=2, two in a "
            "second"
        )
    if found[1] is None:
        number = min(int(value), count)
        chosen = [int((k + 0.5) * count / number) for k in range(min(number, MOST + 1))]
    else:
        step = value if found[1] == "stride" else max(rate / value, 1.0)
        chosen = [int(k * step) for k in range(min(int((count - 1) / step) + 1, MOST + 1))]
    if len(chosen) > MOST:
        raise PreprocessError(
            f"more than {MOST} frames are asked for; take fewer (frames=, --frames, or a larger stride)"
        )
    return chosen


def sampled(
    path: str | os.PathLike[str], wanted: int | str | None, default: int
) -> tuple[Iterator[RgbImage], list[int], float]:
    """Return the frames of a video that are *wanted*, one at a time, their numbers, and the file's rate.

    ImageError where the file is no video, or is cut off.
    """
    import cv2

    paths.check_file(path, ImageError, "video")
    with silence():
        video = cv2.VideoCapture(os.fspath(path))
        count, rate = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), float(video.get(cv2.CAP_PROP_FPS))
    if not video.isOpened() or count <= 0:
        raise no_video(path)
    rate = rate if 0 < rate < 1e5 else 1.0
    chosen = numbers(wanted, count, rate, default)
    return _read(video, path, chosen, count), chosen, rate


def few(path: str | os.PathLike[str], wanted: int | str | None, taken: int) -> str:
    """Return a warning where the video *path* has fewer frames than the user *wanted*, and all are taken; else ""."""
    asked = str(wanted).strip()
    if not asked.isdecimal() or int(asked) <= taken:
        return ""
    return f"{in_message(path)}: has {taken} frames, and {asked} are asked for: all are taken"


def frames_of(names: Sequence[str], wanted: int | str | None) -> tuple[list[str], list[str]]:
    """Return *names* with the frames of each video in its place, as `numbers` says; and warnings.

    Of a video that cannot be read it is the first frame, whose reading is the error. PreprocessError where frames are
    *wanted* and there is no video.
    """
    if wanted is not None and not any(map(is_video, names)):
        raise PreprocessError("frames (--frames) are of videos, and none of the files is one; leave them out")
    found, warnings = list[str](), list[str]()
    for name in names:
        if not is_video(name):
            found.append(name)
            continue
        try:
            _, chosen, _ = sampled(name, wanted, FRAMES)
        except ImageError:
            found.append(frame_name(name, 0))  # whoever reads it gets the error, and leaves it out like a broken image
            continue
        found += [frame_name(name, number) for number in chosen]
        warnings += filter(None, [few(name, wanted, len(chosen))])
    return found, warnings


def _read(video: object, path: str | os.PathLike[str], chosen: Sequence[int], count: int) -> Iterator[RgbImage]:
    place = 0
    for number in chosen:
        while place <= number:
            with silence():
                good, frame = video.read() if place == number else (video.grab(), None)  # type: ignore[attr-defined]
            if not good:
                raise ImageError(
                    f"{in_message(path)}: the video is cut off, frame {place} of {count} cannot be read; copy it again"
                )
            place += 1
        yield np.ascontiguousarray(np.asarray(frame, np.uint8)[..., ::-1])


def small(frame: RgbImage) -> RgbImage:
    """Return *frame* with the longer side of at most `LARGEST` pixels, both even, as codecs need them."""
    import cv2

    height, width = frame.shape[:2]
    scale = min(1.0, LARGEST / max(height, width))
    size = max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def overlay(
    clip: Clip,
    heat: NDArray[np.float32],
    opacity: heatmap.Opacity,
    colormap: str | None,
    seen: Sequence[float] | None = None,
) -> RgbImage:
    """Return some frames with their maps, side by side, above the largest value of the map along time."""
    import cv2

    count = len(clip.frames)
    chosen = sorted({round(k * (count - 1) / max(1, min(_SHOWN, count) - 1)) for k in range(min(_SHOWN, count))})
    side = (signal_plot.WIDTH - 4 * (len(chosen) - 1)) // len(chosen)
    tiles = []
    for number in chosen:
        drawn = heatmap.overlay(clip.frames[number], heat[number], opacity, colormap, seen=seen)
        height = max(1, round(drawn.shape[0] * side / drawn.shape[1]))
        scaled = np.asarray(cv2.resize(drawn, (side, height), interpolation=cv2.INTER_AREA), np.uint8)
        tiles.append(np.pad(scaled, ((0, 8), (0, 0 if number == chosen[-1] else 4), (0, 0)), constant_values=255))
    row = np.concatenate(tiles, axis=1)
    row = np.pad(row, ((0, 0), (0, signal_plot.WIDTH - row.shape[1]), (0, 0)), constant_values=255)
    curve = signal_plot.curve(weights(clip, heat), clip.times, clip.unit, colormap, "score" if clip.scores else "map")
    return np.concatenate([row, curve])


def weights(clip: Clip, heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weight of each frame, [T]: its score, or the mean of its map [H, W], over the largest magnitude."""
    mean = np.asarray(clip.scores) if clip.scores else heat.mean(axis=(1, 2))
    return np.asarray(mean / max(float(np.abs(mean).max(initial=0)), 1e-38), np.float32)


def encode(
    clip: Clip,
    heat: NDArray[np.float32],
    opacity: heatmap.Opacity,
    colormap: str | None,
    seen: Sequence[float] | None = None,
) -> bytes:
    """Return the frames with their maps as the bytes of an .mp4 file (mp4v); OutputError without that codec."""
    import cv2

    steps = np.diff(clip.times)
    rate = 1 / float(steps.mean()) if len(steps) and clip.rate else _SLOWEST
    times = readable.factor(clip.frames.shape[1:3])
    height, width = (times * side for side in clip.frames.shape[1:3])
    edge = None if seen is None else [times * at for at in seen]
    with tempfile.TemporaryDirectory(prefix="onnxcam-") as folder:
        path = os.path.join(folder, "overlay.mp4")
        with silence():
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(path, fourcc, max(rate, _SLOWEST), (width // 2 * 2, height // 2 * 2))
            is_open = writer.isOpened()
            for frame, one in zip(clip.frames, heat, strict=True) if is_open else ():
                drawn = heatmap.overlay(*readable.enlarged(frame, one, times), opacity, colormap, seen=edge)
                drawn = drawn[: height // 2 * 2, : width // 2 * 2]
                writer.write(np.ascontiguousarray(drawn[..., ::-1]))
            writer.release()
        content = Path(path).read_bytes() if os.path.exists(path) else b""
    if not is_open or not content:
        raise OutputError(
            "this OpenCV cannot write .mp4 videos (codec mp4v); take --maps raw, or install another OpenCV"
        )
    return content
