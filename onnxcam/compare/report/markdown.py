"""Validation → Markdown for a pull request, in the dialect of GitHub and GitLab."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import onnxcam
from onnxcam.compare import layer_agreement, slices
from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.report import formatting
from onnxcam.compare.report.worst import first_metric, worst
from onnxcam.text import plain

if TYPE_CHECKING:
    from onnxcam.compare.validation import Validation

__all__ = ["markdown"]

_LISTED = 10
"""Warnings that are listed: a comment on GitHub has at most 65,536 characters."""
_MARKS = {"passed": "✅", "failed": "❌", "undecided": "⚠️"}
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~!&$:@]|(?<=www)\.)", re.IGNORECASE)


def markdown(validation: Validation) -> str:
    """Return the verdict, the requirements, the worst images and the first warnings as Markdown.

    Names and texts of other origin are escaped: none makes a link, an image, HTML, or a mention of a person.
    """
    count = formatting.count(len(validation.journal))
    names = (_text(Path(model.name).name) for model in (validation.candidate, validation.reference))
    blocks = [
        f"### {_MARKS[validation.verdict]} onnxcam: {validation.verdict} on {count}",
        "candidate {}, reference {}".format(*names),
        _text(validation.doubt, 1000),
        _requirements(validation),
        _accuracy(validation),
        *(_text(one, 1000) for one in _sentences(validation)),
        _worst(validation),
        _warnings(validation),
        f"<sub>onnxcam {onnxcam.__version__}</sub>",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _requirements(validation: Validation) -> str:
    rows = []
    for verdict in validation.verdicts:
        summary = validation.summaries.get(verdict.metric)
        interval = "–" if summary is None else formatting.interval(summary)
        mark = "✅ holds" if verdict.holds else "❌ fails"
        rows.append((f"`{verdict.words}`", formatting.value(verdict), interval, mark))
    return _table(("requirement", "value", "mean, 95 % interval", ""), rows)


def _accuracy(validation: Validation) -> str:
    found = {} if validation.truth is None else validation.truth.values
    rows = [
        (AGREEMENT_METRICS[metric].title, *(formatting.number(metric, value) for value in pair))
        for metric, pair in found.items()
    ]
    return _table(("by the truth", "reference", "candidate"), rows)


def _sentences(validation: Validation) -> list[str]:
    """Return what the diagnosis, the layers and the slices say, a sentence each."""
    return [
        "" if validation.diagnosis is None else f"why: {validation.diagnosis['sentence']}",
        f"layers: {layer_agreement.sentence(validation.levels)}" if validation.levels else "",
        f"slices: {said}" if (said := slices.sentence(validation.slices, validation.truth)) else "",
    ]


def _worst(validation: Validation) -> str:
    rows = [
        (
            _text(Path(pair.picture).name, 80),
            *(_text(answer.words, 60) for answer in pair.answers),
            first_metric(pair, validation),
        )
        for pair in worst(validation)
    ]
    return _table(("worst images", "reference", "candidate", ""), rows)


def _warnings(validation: Validation) -> str:
    unread = (f"could not be read: {name}: {why}" for name, why in validation.unreadable)
    every = [*validation.damaged, *validation.warnings, *unread]
    if not every:
        return ""
    lines = [f"- {_text(one, 400)}" for one in every[:_LISTED]]
    lines += [f"- and {len(every) - _LISTED} more, in validation.json"] * (len(every) > _LISTED)
    return "\n".join([f"<details><summary>Warnings: {len(every)}</summary>\n", *lines, "\n</details>"])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines]) if lines else ""


def _text(text: str, longest: int = 120) -> str:
    """Return *text* on one line; punctuation that means something in Markdown has a backslash.

    Behind ``@`` and ``#`` is a zero-width space, as GitHub reads mentions and references also behind a backslash.
    """
    escaped = _SPECIAL.sub(r"\\\1", plain(text, longest))
    return re.sub(r"\\([@#])", "\\g<0>\u200b", escaped)
