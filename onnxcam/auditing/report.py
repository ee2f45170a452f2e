"""Audit → one self-contained HTML page: findings first, the strongest on top, with examples and what to check."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from onnxcam.auditing.audit import Audit
from onnxcam.auditing.energy import AREAS
from onnxcam.auditing.finding import Finding, Listed
from onnxcam.auditing.pictures import shown
from onnxcam.compare.report.page import render, require, template
from onnxcam.text import visible

__all__ = ["EXAMPLES", "LISTED", "html"]

EXAMPLES = 8
"""Pictures shown of each finding and list."""
LISTED = 12
"""Clusters and classes listed."""
_TITLES = {
    "near duplicates": "Near duplicates",
    "wrong reason": "Right answers for wrong reasons",
    "confident error": "Confident errors",
    "outlier": "Outliers",
}
_WORDS = {
    "near duplicates": "Pictures that look the same. Those across classes come first: one of the labels is wrong.",
    "wrong reason": "Less of the map is on the object than the object's share of the picture.",
    "confident error": "A wrong answer with a probability of at least 90 %: a wrong label, or a shortcut.",
    "outlier": "The map is far from all others of its class.",
}


def html(audit: Audit, images: str | os.PathLike[str] | None = None) -> str:
    """Return the report of *audit*. Pictures are read again from their paths, relative to *images*.

    A picture that cannot be read is shown by its thumbnail of 16 × 16 pixels.

    Raises:
        OutputError: Jinja is not installed.
    """
    require("audit")
    row = {id: at for at, id in reversed(list(enumerate(audit.table.ids)))}

    def examples(ids: Sequence[str]) -> list[dict[str, Any]]:
        found = []
        for id in ids[:EXAMPLES]:
            data, whole = shown(audit.table, row[id], images)
            found.append({"id": visible(id, 200), "data": data, "whole": whole})
        return found

    variables = {
        "rows": len(audit.table),
        "classes": len(audit.table.classes),
        "missing": audit.missing,
        "findings": [_finding(one, examples(one.ids)) for one in audit.findings],
        "lists": [
            (title, _WORDS[kind], len(own), [_listed(one, examples(one.ids[:3])) for one in own[:EXAMPLES]])
            for kind, title in _TITLES.items()
            if (own := [one for one in audit.lists if one.kind == kind])
        ],
        "energies": [(visible(one.label, 80), one.rows, *_numbers(one)) for one in audit.energies[:LISTED]],
        "areas": {name: f"{area:.0%}" for name, area in AREAS.items()},
        "clusters": [
            (visible(one.label, 80), one.of, one.number, len(one.ids), f"{one.share:.0%}", _share(one.border))
            for one in sorted(audit.clusters, key=lambda one: one.share)[:LISTED]
        ],
        "clusters_left": max(0, len(audit.clusters) - LISTED),
        "classes_left": max(0, len(audit.energies) - LISTED),
        "notes": [visible(note, 400) for note in audit.notes],
    }
    return render("onnxcam.auditing", "audit.html", variables, template("onnxcam.auditing", "audit.css"), "")


def _finding(one: Finding, examples: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "cluster": visible(one.cluster, 80),
        "place": one.place,
        "count": len(one.ids),
        "strength": f"{one.strength:.1f}",
        "p": f"{one.p:.1g}",
        "why": visible(one.why, 600),
        "check": visible(one.check, 600),
        "examples": examples,
    }


def _listed(one: Listed, examples: list[dict[str, Any]]) -> dict[str, Any]:
    return {"label": visible(one.label, 80), "why": visible(one.why, 300), "examples": examples}


def _numbers(one: Any) -> list[str]:
    names = ("border", "border_elsewhere", "corners", "corners_elsewhere", "truth", "truth_area", "errors")
    return [_share(getattr(one, name)) for name in names]


def _share(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.1%}"
