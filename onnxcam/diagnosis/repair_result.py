"""The result of a repair: what was changed, what it costs, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxcam import __version__
from onnxcam.diagnosis.diagnosis import Diagnosis
from onnxcam.diagnosis.formatting import percent
from onnxcam.diagnosis.keep_float import KeepFloat
from onnxcam.errors import DiagnosisError
from onnxcam.files import require_writable
from onnxcam.graph.io import save
from onnxcam.paths import PathLike
from onnxcam.text import visible

__all__ = ["REPAIRED", "MetricChange", "Repair", "Rewrite"]

REPAIRED = "onnxcam.repaired"
"""Metadata key of a repaired file."""
_SCHEMA = 1
_NAME = 60  # characters of a name in a sentence


@dataclass(frozen=True)
class Rewrite:
    """New units of one tensor.

    Attributes:
        tensor: Its name in the quantised file.
        name: Its name in the float model.
        kind: ``activation``, ``weight`` or ``bias``.
        why: What was wrong.
        scale: New scale, one number or one for each channel.
        zero: New zero point, likewise.
        before: Relative change of the outputs by quantisation before, over the images of the search. Tensors without
            a named cause are measured together.
        after: The same with the new units.
    """

    tensor: str
    name: str
    kind: str
    why: str
    scale: Sequence[float]
    zero: Sequence[int]
    before: float
    after: float

    @property
    def words(self) -> str:
        """Return the rewrite in a sentence."""
        scale = f"the scale {self.scale[0]:.4g}" if len(self.scale) == 1 else f"{len(self.scale)} scales"
        return f"{self.kind} {visible(self.name, _NAME)}: {self.why}; it has {scale} now"


@dataclass(frozen=True)
class MetricChange:
    """One requirement on the images of the confirmation, before and after the repair."""

    metric: str
    words: str
    before: float | None
    after: float | None
    held: bool
    holds: bool


@dataclass(frozen=True)
class Repair:
    """A repaired file.

    Attributes:
        model: The file.
        already: Whether the file met the requirements before, so that nothing is changed.
        measures: The requirements on the images of the confirmation.
        rewrites: Tensors with new units.
        biases: Biases that are corrected by the mean error of their layers.
        tensors: Tensors of the quantised file that are kept in float.
        nodes: Nodes that compute in float therefore.
        work: Their share of the multiplications.
        seconds: Measured time of a run on this machine, ``before``, ``after``, ``float``: medians of interleaved runs.
        images: Numbers of images of the search and of the confirmation.
        diagnosis: Why the file failed; None if it did not.
        keep: The nodes in float, for other tools.
        warnings: What the user should know.
        equalised: Activations between two layers whose channels are equalised.
    """

    model: ir.Model
    already: bool
    measures: Sequence[MetricChange]
    rewrites: Sequence[Rewrite]
    biases: Sequence[str]
    tensors: Sequence[str]
    nodes: Sequence[str]
    work: float
    seconds: Mapping[str, float]
    images: tuple[int, int]
    diagnosis: Diagnosis | None
    keep: KeepFloat
    warnings: Sequence[str] = field(default_factory=list)
    equalised: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Return whether the file meets all requirements on the images of the confirmation."""
        return all(one.holds for one in self.measures)

    @property
    def slower(self) -> float | None:
        """Return the time of the repaired file by that of the quantised one, as measured on this machine."""
        found = self.seconds
        return found["after"] / found["before"] if {"after", "before"} <= set(found) and found["before"] else None

    @property
    def sentence(self) -> str:
        """Return the result in one sentence."""
        if self.already:
            return "the file meets all requirements as it is; nothing is changed"
        gain = ", ".join(f"{one.metric} {_change(one.before, one.after)}" for one in self._main)
        if all(one.held for one in self.measures):
            gain = f"{gain}; the file failed on the images of the search only"
        verb = ("restores" if len(self._deeds) == 1 else "restore") if self.passed else "does not suffice:"
        first = self.diagnosis.tensors[0] if self.diagnosis is not None else None
        why = "" if first is None or first.cause is None else f"{first.words}: {first.cause.words}; "
        return f"{why}{' and '.join(self._deeds)} {verb} {gain}"

    @property
    def _deeds(self) -> list[str]:
        count, nodes = len(self.rewrites), len(self.nodes)
        deeds = []
        if count:
            deeds.append(f"a better scale for {count} tensor{'s' if count > 1 else ''}")
        if self.equalised:
            deeds.append(f"equalising the channels of {_count(len(self.equalised), 'pair')} of layers")
        if self.biases:
            deeds.append(f"correcting {_count(len(self.biases), 'bias')}")
        if self.tensors:
            deeds.append(f"keeping {nodes} node{'s' if nodes != 1 else ''} in float ({percent(self.work)} of the work)")
        return deeds or ["no change"]

    @property
    def _main(self) -> Sequence[MetricChange]:
        """Return the requirements that failed, or all."""
        return [one for one in self.measures if not one.held][:2] or self.measures[:1]

    def save(self, path: PathLike, inputs: Sequence[PathLike] = (), *, overwrite: bool = False) -> None:
        """Write the file; *inputs* are files that it must not replace.

        Raises:
            DiagnosisError: it does not meet the requirements.
            OutputError: *path* cannot be written.
        """
        if not self.passed:
            raise DiagnosisError(f"the file is not written, as it fails: {self.sentence}")
        require_writable(Path(path), inputs, overwrite=overwrite)
        save(self.model, path, overwrite=overwrite)

    def stamp(self) -> dict[str, Any]:
        """Return what the file says about its changes."""
        return {
            "schema": _SCHEMA,
            "onnxcam": __version__,
            "units": [{"tensor": one.tensor, "why": one.why} for one in self.rewrites],
            "equalised": list(self.equalised),
            "biases": list(self.biases),
            "float": list(self.tensors),
            "nodes": list(self.nodes),
            "requirements": [one.words for one in self.measures],
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the content of repair.json."""
        return {
            "schema": _SCHEMA,
            "onnxcam": __version__,
            "sentence": self.sentence,
            "passed": self.passed,
            "already": self.already,
            "requirements": [vars(one) for one in self.measures],
            "units": [vars(one) for one in self.rewrites],
            "equalised": list(self.equalised),
            "biases": list(self.biases),
            "tensors": list(self.tensors),
            "nodes": list(self.nodes),
            "work": self.work,
            "seconds": dict(self.seconds),
            "images": dict(zip(("search", "confirmation"), self.images, strict=True)),
            "keep": self.keep.as_dict(),
            "warnings": list(self.warnings),
            "diagnosis": None if self.diagnosis is None else self.diagnosis.as_dict(),
        }


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 'es' if what.endswith('s') else 's'}"


def _change(before: float | None, after: float | None) -> str:
    """Return both numbers, with as many digits as tell them apart: ``0.61 -> 0.93``."""
    pairs = [(_number(before, digits), _number(after, digits)) for digits in range(3, 9)]
    return " -> ".join(next((pair for pair in pairs if pair[0] != pair[1]), pairs[0]))


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}g}"
