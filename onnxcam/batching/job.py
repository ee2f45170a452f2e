"""What a run explains, as the processes that work for it receive it, and their messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxcam.explainer.drawing import EXACT, SUFFIXES, Drawing

__all__ = ["CHUNK", "DONE", "FAILED", "JOB", "READY", "STARTED", "Job"]

JOB, CHUNK = b"J", b"C"
"""Letters of frames to a process: the job; pictures to explain, and whether one after the other."""
READY, STARTED, DONE, FAILED = b"R", b"S", b"D", b"F"
"""Letters of frames from a process: it is ready; it begins a picture; its rows; an error that every picture has."""


@dataclass(frozen=True)
class Job:
    """What is done with every picture.

    Attributes:
        explainer: Arguments of the `Explainer`.
        targets: What is explained in a picture that names no target itself; None is the model's own choice.
        truth: File or folder of the ground truth.
        mask_values: Meaning of values of masks, see `Truth`.
        overlays: How overlays are drawn; None: there are none.
        maps: ``"raw"``: rows hold the raw map; ``"none"``: they do not.
        threads: Threads that compute; threads that read pictures.
    """

    explainer: Mapping[str, Any]
    targets: Sequence[str | None] = (None,)
    truth: str | None = None
    mask_values: str = "object"
    overlays: Drawing | None = None
    maps: str = "raw"
    threads: tuple[int, int] = (1, 1)

    @property
    def overlay_suffix(self) -> str:
        """The suffix of the files of overlays."""
        drawing: Drawing = {**EXACT, **(self.overlays or {})}
        return SUFFIXES[drawing["format"]]

    def on(self, cpus: int) -> Job:
        """Return this job with as many threads as *cpus* processors have use for."""
        return replace(self, threads=(cpus, min(4, cpus + 1)))
