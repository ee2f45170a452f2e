"""Networks of images over a video: one map for each sampled frame, read and explained one at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxcam import paths
from onnxcam.explainer.explanation import Explanation
from onnxcam.media import video
from onnxcam.media.video import Clip
from onnxcam.targets import Target

if TYPE_CHECKING:
    from onnxcam.explainer.image_calls import ImageCalls

__all__ = ["explain_frames"]


def explain_frames(
    explainer: ImageCalls, path: str | os.PathLike[str], target: Target, inputs: Mapping[str, Any] | None = None
) -> Explanation:
    """Explain the sampled frames of the video *path* for one target: by default the top one of the middle frame.

    One frame is in memory in its full size; frames and maps are kept small, [T, h, w] with a side of 480 pixels at
    most. All maps have one scale, that of the frame with the largest value. The score is that of the frame with the
    highest one.
    """
    taken, chosen, rate = video.sampled(path, explainer.frames, video.FRAMES)
    wanted, note = target, ""
    if target is None and explainer.target is None:
        middle, _, _ = video.sampled(path, explainer.frames, video.FRAMES)
        *_, last = (explainer.prepare(frame) for frame, _ in zip(middle, range(len(chosen) // 2 + 1), strict=False))
        wanted = explainer(last, None, inputs).words
        note = f"{wanted}: the top target of the middle frame, number {chosen[len(chosen) // 2]}"
    found, frames, maps = [], [], []
    for frame in taken:
        one = explainer(explainer.prepare(frame), wanted, inputs)
        picture = video.small(frame)
        found.append(replace(one.resized(picture), detection=one.detection))
        maps.append(found[-1].map)
        frames.append(picture)
    peaks = np.array([one.peak for one in found])
    scales = peaks / max(float(peaks.max()), 1e-38)
    best = max(found, key=lambda one: one.score)
    clip = Clip(np.stack(frames), tuple(chosen), rate, scores=tuple(one.score for one in found))
    return replace(
        best,
        image=clip.frames,
        map=np.stack([one * np.float32(scale) for one, scale in zip(maps, scales, strict=True)]),
        raw=np.stack([one.raw for one in found]),
        clip=clip,
        name=paths.stem(path),
        note=note or best.note,
        warnings=(*filter(None, [video.few(path, explainer.frames, len(found))]), *_warnings(found)),
    )


def _warnings(found: Sequence[Explanation]) -> tuple[str, ...]:
    """Return the warnings of the frames; those of some frames only say of how many."""
    counts = Counter(text for one in found for text in one.warnings)
    return tuple(
        text if count == len(found) else f"in {count} of {len(found)} frames {text}" for text, count in counts.items()
    )
