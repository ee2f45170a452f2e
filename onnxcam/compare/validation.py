"""Result of a validation: the two models, all image comparisons, statistics of each metric, and verdicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnxcam
from onnxcam import files
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.layer_agreement import LayerAgreement
from onnxcam.compare.outcome import ModelInfo
from onnxcam.errors import OutputError
from onnxcam.text import to_json

JOURNAL, FILE = "journal.jsonl", "validation.json"
PAGE, JUNIT = "report.html", "junit.xml"
"""Files in the folder of a validation: the journal from the start, the others once it is finished."""


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

    @property
    def passed(self) -> bool:
        """Whether all requirements hold."""
        return all(verdict.holds for verdict in self.verdicts)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each comparison as a JSON object, without maps."""
        for pair in self.journal:
            yield {
                "picture": pair.picture,
                "sha256": pair.sha256,
                "size": list(pair.size),
                "target": self._class(pair.target),
                "top": {"reference": self._class(pair.tops[0]), "candidate": self._class(pair.tops[1])},
                "confidence": dict(zip(("reference", "candidate"), pair.confidence, strict=True)),
                "values": dict(pair.values),
                "notes": list(pair.notes),
            }

    def _class(self, index: int) -> dict[str, Any]:
        return {"index": index, "label": self.labels[index] if self.labels else None}

    def as_dict(self) -> dict[str, Any]:
        """Return the content of validation.json. It depends on models and images only, so it has no timings."""
        return {
            "onnxcam": onnxcam.__version__,
            "passed": self.passed,
            "reference": asdict(self.reference),
            "candidate": asdict(self.candidate),
            "requirements": [asdict(verdict) for verdict in self.verdicts],
            "summary": [asdict(summary) for summary in self.summaries.values()],
            "unreadable": [{"picture": picture, "why": why} for picture, why in self.unreadable],
            "warnings": list(self.warnings),
            "layers": [asdict(level) for level in self.levels],
            "pictures": list(self.rows()),
        }

    def save(self, directory: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
        """Write validation.json, report.html and junit.xml into *directory*; return their paths.

        Each file appears whole or not at all, validation.json last. Raises OutputError where that cannot be done, and,
        without *overwrite*, where the folder holds a validation, or files of these names and other origin.
        """
        folder = Path(directory)
        refuse_finished(folder, overwrite)
        makers = {**_reports(), FILE: _json}
        with files.writing(folder, "into "):
            folder.mkdir(parents=True, exist_ok=True)
            for name, make in makers.items():
                with files.drafted(folder / name, name) as draft:
                    draft.write_text(make(self), "utf-8", "backslashreplace")
        return [folder / name for name in makers]


def refuse_finished(folder: Path, overwrite: bool) -> None:
    """Raise OutputError where *folder* holds a finished validation, or reports of other origin, unless *overwrite*."""
    if os.path.exists(folder / FILE) and not overwrite:
        raise OutputError(
            f"'{folder}' holds a finished validation; choose another folder with -o, or --overwrite that one"
        )
    for name in (PAGE, JUNIT):
        files.require_writable(folder / name, overwrite=overwrite)


def _json(validation: Validation) -> str:
    return to_json(validation.as_dict()) + "\n"


def _reports() -> dict[str, Callable[[Validation], str]]:
    """Return what makes the reports for people and for CI systems, by the name of the file."""
    from onnxcam.compare.report.html import html
    from onnxcam.compare.report.junit import junit

    return {PAGE: html, JUNIT: junit}
