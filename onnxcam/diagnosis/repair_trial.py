"""Try a plan: write the file in memory, and validate it on images."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.compare.observer import Observer, PreparedImage
from onnxcam.compare.outcome import Outcome
from onnxcam.compare.validate import validate
from onnxcam.compare.validation import Validation
from onnxcam.compare.validation_run import observing
from onnxcam.diagnosis.diagnose import with_card
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.repair_plan import RepairPlan
from onnxcam.engine import Session
from onnxcam.errors import DiagnosisError, ImageError
from onnxcam.graph.io import ModelLike, load, to_proto
from onnxcam.media import image as pictures
from onnxcam.paths import PathLike

__all__ = ["Trial", "durations", "split"]

_ROUNDS = 15
"""Number of runs of each model that is timed."""


def split(images: PathLike | Sequence[PathLike]) -> tuple[list[str], list[str], list[str]]:
    """Return the images for the search, those for the confirmation, and why others were left out.

    The two halves are those of the images that can be read, by the hash of their names.

    Raises:
        DiagnosisError: fewer than two images can be read.
    """
    given = [images] if isinstance(images, str | os.PathLike) else list(images)
    once = {os.path.realpath(name): name for name in pictures.files(given)}
    reasons = {name: _unreadable(name) for name in once.values()}
    readable = [name for name, why in reasons.items() if why is None]
    ordered = sorted(readable, key=lambda name: sha256(Path(name).name.encode("utf-8", "replace")).digest())
    left_out = [f"left out: {why}" for why in reasons.values() if why is not None]
    half = len(ordered) // 2
    if not half:
        raise DiagnosisError(
            "a repair needs at least 2 images, since those of the search and of the confirmation are apart; give more"
            + (f" ({left_out[0]})" if left_out else "")
        )
    return ordered[:half], ordered[half:], left_out


def _unreadable(name: str) -> str | None:
    """Return why the image *name* cannot be read; None if it can."""
    try:
        pictures.read(name)
    except ImageError as error:
        return str(error)
    return None


@dataclass
class _Remembering(Observer):
    """An observer that keeps its outcomes, as the same images are validated again and again."""

    _known: dict[Any, list[Outcome]] = field(default_factory=dict, init=False)

    def outcomes(self, prepared_images: Sequence[PreparedImage], *wanted: Any, **options: Any) -> list[Outcome]:
        names = tuple(one.picture for one in prepared_images)
        key = names, repr(wanted), repr(options), str(self.network.preprocessing)
        if key not in self._known:
            self._known[key] = super().outcomes(prepared_images, *wanted, **options)
        return self._known[key]


@dataclass
class Trial:
    """A quantised file and its reference, to try plans on.

    Attributes:
        reference: The float model, or what takes its place.
        source: The quantised file.
        mixture: Its mixture.
        require: Requirements; None: those of the task.
        target: What is explained.
        options: Options of both models.
    """

    reference: ModelLike
    source: ir.Model
    mixture: Mixture
    require: str | None
    target: int | str
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        self._observed: dict[bool, Observer] = {}
        self._verdicts: dict[Hashable, tuple[RepairPlan, list[str]]] = {}

    def of(self, source: ir.Model, mixture: Mixture) -> Trial:
        """Return trials of another file with the same reference, whose outcomes are known."""
        made = replace(self, source=source, mixture=mixture)
        made._observed = self._observed
        return made

    def validate(self, plan: RepairPlan, images: Sequence[str], remember: bool = False) -> Validation:
        """Return the verdict on the file with the changes of *plan*; *remember* the outcomes of the reference.

        Raises:
            DiagnosisError: the verdict is undecided.
        """
        if remember not in self._observed:
            self._observed[remember] = (
                _Remembering(self.reference, **self.options)
                if remember
                else observing("reference", self.reference, **self.options)
            )
        made = with_card(to_proto(plan.applied(self.source, self.mixture)), self.reference)
        candidate = observing("candidate", made, **self.options)
        found = validate(self._observed[remember], candidate, images, target=self.target, require=self.require)
        if found.doubt:
            raise DiagnosisError(f"no repair without a verdict: {found.doubt}")
        return found

    def meets(self, plan: RepairPlan, images: Sequence[str]) -> bool:
        """Return whether the file with the changes of *plan* meets all requirements."""
        return not self.failing(plan, images)

    def failing(self, plan: RepairPlan, images: Sequence[str]) -> list[str]:
        """Return the metrics of the requirements that the file with the changes of *plan* does not meet.

        The same plan is tried once.
        """
        key = plan.key, tuple(images)
        if key not in self._verdicts:
            found = self.validate(plan, images, remember=True)
            self._verdicts[key] = plan, [one.metric for one in found.verdicts if not one.holds]
        return self._verdicts[key][1]


def durations(models: Mapping[str, ModelLike], feeds: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Return the seconds of one run of each model, the median of interleaved runs; none for other inputs."""
    sessions = {name: Session(load(model), "cpu", spin=False) for name, model in models.items()}
    sessions = {name: one for name, one in sessions.items() if set(one.inputs) <= set(feeds)}
    given = {name: one.filled({x: np.asarray(feeds[x]) for x in one.inputs}) for name, one in sessions.items()}
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(_ROUNDS + 2):
        for name, session in sessions.items():
            start = perf_counter()
            session.run(given[name])
            if number >= 2:  # the first runs allocate memory
                found[name].append(perf_counter() - start)
    return {name: median(seconds) for name, seconds in found.items()}
