"""`audit`: rows of batches → where a network looks at the wrong thing. Documented in docs/audit.md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onnxcam.auditing.clusters import Cluster, clusters
from onnxcam.auditing.energy import ClassEnergy, energies
from onnxcam.auditing.finding import Finding, Listed
from onnxcam.auditing.lists import lists
from onnxcam.auditing.shortcuts import FEWEST, searched, shortcuts
from onnxcam.auditing.slices import SMALLEST, error_slices, has_slices
from onnxcam.auditing.table import AuditTable, read_table

__all__ = ["Audit", "audit"]


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        table: The rows.
        findings: What is not chance, the strongest first.
        clusters: Clusters of the maps and activations of each class.
        lists: Pictures worth a look.
        energies: Where the maps of each class lie.
        notes: What could not be looked for, and why.
        missing: What there is too little of for any test; empty if one was made.
    """

    table: AuditTable
    findings: list[Finding]
    clusters: list[Cluster]
    lists: list[Listed]
    energies: list[ClassEnergy]
    notes: list[str]
    missing: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the content of findings.json."""
        return {
            "format": "onnxcam.audit",
            "schema": 1,
            "rows": len(self.table),
            "errors": self.table.errors,
            **{
                name: [_finite(asdict(one)) for one in getattr(self, name)]
                for name in ("findings", "lists", "clusters", "energies")
            },
            "notes": self.notes,
        }


def audit(folder: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, seed: int = 0) -> Audit:
    """Look for what a data set teaches by mistake in the rows of batches.

    Args:
        folder: A folder or an address that `onnxcam.batch` wrote, or several.
        seed: Random seed of samples and halves.

    Raises:
        OutputError: a folder holds no batch, or the batch no row without an error.

    Example:
        >>> audit("results").findings[0].why
    """
    table = read_table([folder] if isinstance(folder, str | os.PathLike) else list(folder))
    found = sorted([*shortcuts(table, seed), *error_slices(table)], key=lambda one: -one.strength)
    return Audit(
        table, found, clusters(table, seed), lists(table, seed), energies(table), _notes(table), _missing(table)
    )


def _missing(table: AuditTable) -> str:
    if searched(table) or has_slices(table):
        return ""
    parts = ["a second class" if len(table.classes) == 1 else f"a class of at least {FEWEST} rows"]
    if table.columns["map_truth"].null_count == len(table):
        parts.append("objects")
    judged = table.columns["correct"].null_count < len(table)
    parts.append(
        f"a column of the manifest with values of at least {SMALLEST} rows"
        if judged
        else "answers that are right or wrong"
    )
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _notes(table: AuditTable) -> list[str]:
    notes = []
    small = [label for label in table.classes if (table.labels == label).sum() < FEWEST]
    if table.errors:
        notes.append(f"{table.errors} rows are errors and are left out")
    if small:
        which = f"{len(small)} of {len(table.classes)} classes"
        notes.append(f"{which} have fewer than {FEWEST} rows: no shortcut is looked for there")
    if len(table.classes) == 1:
        notes.append("there is one class, and no other to compare its parts with: no shortcut is looked for")
    if table.columns["map_truth"].null_count == len(table):
        notes.append("no object is known (--truth of onnxcam batch): maps are not compared with objects")
    if table.columns["correct"].null_count == len(table):
        notes.append("no answer is known to be right or wrong: no errors, wrong reasons and slices")
    if table.columns["features"].null_count == len(table):
        notes.append("the batch has no features: activations are not clustered")
    return notes


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and value != value else value for key, value in values.items()}
