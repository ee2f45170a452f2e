"""A reading: what each part of a model means, and how that is known."""

from __future__ import annotations

from dataclasses import dataclass

from onnxcam import markup

__all__ = ["SOURCES", "Part", "Reading"]

SOURCES = {
    "user": "you said so",
    "card": "the model's card",
    "metadata": "the model's metadata",
    "file": "a file beside the model",
    "names": "the names of inputs and outputs",
    "graph": "the graph",
    "run": "a run of the model",
    "partner": "the other model of the comparison",
    "shapes": "the shapes of the outputs",
    "guess": "a guess",
}
"""How a part is known, the strongest source first."""

_WEAK = frozenset(("shapes", "guess"))


@dataclass(frozen=True)
class Part:
    """One part of a reading.

    Attributes:
        name: The part: ``"task"``, ``"scores"``, ``"boxes"``, ``"letters"``, ``"classes"``, ``"layer"``,
            ``"preprocessing"``.
        value: What it was read as, in a few words.
        source: How that is known, a key of `SOURCES`.
        why: The evidence in a few words; empty where the source says all.
    """

    name: str
    value: str
    source: str
    why: str = ""

    @property
    def guessed(self) -> bool:
        """Return whether no source says so: it follows from shapes, or from convention."""
        return self.source in _WEAK

    def __str__(self) -> str:
        return f"{self.name}: {self.value} ({self.why or SOURCES[self.source]})"


class Reading(list[Part]):
    """What was read of a model: a list of `Part`. Notebooks show it as a table; guesses are marked."""

    def __repr__(self) -> str:
        """Return one line: what each part was read as, guesses marked."""
        said = (f"{one.name}: {one.value}{' (a guess)' if one.guessed else ''}" for one in self)
        return f"Reading({', '.join(said)})"

    def _repr_html_(self) -> str:
        rows = [
            (("⚠ " if one.guessed else "") + one.name, one.value, SOURCES[one.source], one.why if one.why else "")
            for one in self
        ]
        return markup.table(rows, ("part", "read as", "known from", "evidence"))
