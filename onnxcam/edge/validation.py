"""What came of a validation: two sides, every pair, a summary of each metric, and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxcam.edge.comparison import Pair


@dataclass(frozen=True)
class Side:
    """One model, as reports print it."""

    name: str
    sha256: str
    kind: str  # "float32", "int8", …: what its weights, or a recording, say
    method: str
    layer: str | None
    preprocess: str
    provider: str


@dataclass(frozen=True)
class Summary:
    """One metric over all pictures that have it: the mean, and its 95 % bootstrap interval."""

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
    """One requirement: what the words ask for, the mean that was found (None: no picture has it), whether it holds."""

    metric: str
    words: str
    value: float | None
    holds: bool


@dataclass
class Validation:
    """What `validate` found."""

    reference: Side
    candidate: Side
    journal: Sequence[Pair]  # read from disk as they are asked for
    summaries: Mapping[str, Summary]
    verdicts: Sequence[Verdict]
    unreadable: Sequence[tuple[str, str]]  # picture, why
    warnings: Sequence[str]
    labels: Sequence[str] | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all requirements hold."""
        return all(verdict.holds for verdict in self.verdicts)
