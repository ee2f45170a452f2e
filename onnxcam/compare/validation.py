"""Result of a validation: the two models, all image comparisons, statistics of each metric, and verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import onnxcam
from onnxcam.compare import slices
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.layer_agreement import LayerAgreement, first_jump
from onnxcam.compare.outcome import ModelInfo
from onnxcam.compare.slices import AgreementSlice, TruthScores

__all__ = ["Statistics", "Validation", "Verdict"]


@dataclass(frozen=True)
class Statistics:
    """Statistics of one metric over all images that have it; *low* and *high* bound the 95 % bootstrap interval."""

    metric: str
    mean: float
    low: float | None
    high: float | None
    median: float
    worst: float
    worst_picture: str
    count: int
    missing: int


@dataclass(frozen=True)
class Verdict:
    """Result of one requirement: its text, the measured value (None: no image has it), and whether it holds."""

    metric: str
    words: str
    value: float | None
    holds: bool


@dataclass
class Validation:
    """Result of `validate` or `compare_recordings`."""

    reference: ModelInfo
    candidate: ModelInfo
    journal: Sequence[ImageComparison]  # read from disk on access
    summaries: Mapping[str, Statistics]
    verdicts: Sequence[Verdict]
    unreadable: Sequence[tuple[str, str]]  # image, reason
    warnings: Sequence[str]
    labels: Sequence[str] | None
    seconds: float
    levels: Sequence[LayerAgreement] = ()  # with --layers
    folders: Sequence[str] | None = None  # the report opens images only in these folders; None: anywhere
    damaged: Sequence[str] = ()  # one warning per damaged line of the journal
    task: str = "classification"  # of both models, a value of `task` in a card
    truth: TruthScores | None = None  # accuracy of both models by the ground truth
    slices: Sequence[AgreementSlice] = ()  # agreement by class and size
    doubt: str = ""  # why the requirements say nothing about the candidate, and what to do
    diagnosis: Mapping[str, Any] | None = None  # with --why: which quantised tensors spoil the candidate, as JSON

    def __repr__(self) -> str:
        """Return one line: the verdict, the models and how many images, without their values."""
        return (
            f"Validation({self.verdict}: {self.reference.name} and {self.candidate.name}, {len(self.journal)} images)"
        )

    @property
    def accuracy(self) -> Sequence[Mapping[str, float]]:
        """Accuracy of reference and candidate by the ground truth: values by the id of a metric; empty without."""
        if self.truth is None:
            return ()
        return [{metric: pair[side] for metric, pair in self.truth.values.items()} for side in (0, 1)]

    @property
    def meets(self) -> bool:
        """Whether all requirements hold."""
        return all(verdict.holds for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether all requirements hold, without doubt."""
        return self.verdict == "passed"

    @property
    def verdict(self) -> Literal["passed", "failed", "undecided"]:
        """The verdict: undecided if there is a *doubt*."""
        if self.doubt:
            return "undecided"
        return "passed" if self.meets else "failed"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each comparison as a JSON object, without maps."""
        for pair in self.journal:
            yield {
                "picture": pair.picture,
                "sha256": pair.sha256,
                "size": list(pair.size),
                **(self._classes(pair) if self.task == "classification" else _objects(pair)),
                "values": dict(pair.values),
                "notes": list(pair.notes),
            }

    def _classes(self, pair: ImageComparison) -> dict[str, Any]:
        """Return the explained class, and the top classes of both models."""
        return {
            "target": self._class(pair.target or 0),
            "top": {"reference": self._class(pair.tops[0]), "candidate": self._class(pair.tops[1])},
            "confidence": dict(zip(("reference", "candidate"), pair.confidence, strict=True)),
        }

    def _class(self, index: int) -> dict[str, Any]:
        return {"index": index, "label": self.labels[index] if self.labels else None}

    def as_dict(self) -> dict[str, Any]:
        """Return the content of validation.json. It depends on models and images only, so it has no timings."""
        return {
            "onnxcam": onnxcam.__version__,
            "passed": self.passed,
            "verdict": self.verdict,
            "task": self.task,
            "doubt": self.doubt,
            "reference": asdict(self.reference),
            "candidate": asdict(self.candidate),
            "requirements": [asdict(verdict) for verdict in self.verdicts],
            "summary": [asdict(summary) for summary in self.summaries.values()],
            "unreadable": [{"picture": picture, "why": why} for picture, why in self.unreadable],
            "accuracy": dict(zip(("reference", "candidate"), map(dict, self.accuracy), strict=False)),
            "slices": slices.as_dict(self.slices, self.truth),
            "warnings": list(self.warnings),
            "layers": [asdict(level) for level in self.levels],
            "layers_differ_at": None if (jump := first_jump(self.levels)) is None else self.levels[jump].reference,
            **({} if self.diagnosis is None else {"diagnosis": dict(self.diagnosis)}),
            "pictures": list(self.rows()),
        }

    def _repr_html_(self) -> str:
        from onnxcam.compare.report.notebook import html

        return html(self)

    def save(self, directory: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
        """Write validation.json and the reports to *directory*, see `report.folder.save`."""
        from onnxcam.compare.report.folder import save

        return save(self, directory, overwrite)


def _objects(pair: ImageComparison) -> dict[str, Any]:
    """Return what both models say, and each explained thing without its maps."""
    sides = ("reference", "candidate")
    return {
        "answers": {side: {"words": one.words, **one.data} for side, one in zip(sides, pair.answers, strict=True)},
        "objects": [
            {
                "target": one.target,
                "index": one.index,
                "scores": dict(zip(sides, one.scores, strict=True)),
                "boxes": dict(zip(sides, one.boxes, strict=True)),
                "values": dict(one.values),
                "notes": list(one.notes),
            }
            for one in pair.objects
        ],
    }
