"""A validation as a notebook shows it: the verdict, the requirements, the metrics, and the worst images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxcam import markup
from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.report import ranking
from onnxcam.compare.report.formatting import count, interval, number, value
from onnxcam.compare.report.html import short_names
from onnxcam.compare.report.panel import panel
from onnxcam.paths import left_out

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.compare.validation import Validation

__all__ = ["WORST", "html"]

WORST = 3
"""The images that are shown, the worst first."""
_WIDTH = 160
_MARKS = {"passed": "✓", "failed": "✗", "undecided": "?"}


def html(found: Validation) -> markup.Markup:
    """Return the verdict, the requirements, the metrics, the warnings and the worst three images as HTML."""
    required = {verdict.metric: verdict for verdict in found.verdicts}
    rows = [
        (
            f"{name} {'↑' if AGREEMENT_METRICS[name].better == 'higher' else '↓'}",
            number(name, one.mean),
            interval(one),
            number(name, one.worst),
            ", ".join(f"{each.words} {'✓' if each.holds else '✗'}" for each in found.verdicts if each.metric == name),
        )
        for name, one in found.summaries.items()
    ]
    rows += [
        (one.metric, value(one), "", "", f"{one.words} {'✓' if one.holds else '✗'}")
        for one in required.values()
        if one.metric not in found.summaries
    ]
    verdict = markup.Markup(f"<b>{_MARKS[found.verdict]} {found.verdict}</b>")
    reference, candidate = short_names(found.reference.name, found.candidate.name)
    names = f"{candidate} against {reference}, {count(len(found.journal))}"
    why = "" if found.diagnosis is None else f"why: {found.diagnosis['sentence']}"
    left = left_out(found.unreadable)
    return markup.block(
        verdict,
        names,
        found.doubt,
        markup.table(rows, ("metric", "mean", "95 % interval", "worst", "required")),
        why,
        _worst(found),
        markup.warned([*found.damaged, *found.warnings, *left]),
    )


def _worst(found: Validation) -> markup.Markup | str:
    """Return the worst images, each with both maps of its first target and their difference."""
    if not len(found.journal):
        return ""
    order = ranking.order(ranking.columns(pair.values for pair in found.journal))
    rows = [_row(found.journal[int(at)], found) for at in order[:WORST]]
    return markup.table(rows, ("worst images", "image", "reference", "candidate", "difference"))


def _row(pair: ImageComparison, found: Validation) -> tuple[object, ...]:
    drawn = panel(pair, found.folders)
    maps = drawn.objects[0] if drawn.objects else None
    uris = (drawn.picture, *((maps.reference, maps.candidate, maps.difference) if maps else (None,) * 3))
    said = markup.block(pair.picture.rpartition("/")[2], *(answer.words for answer in pair.answers))
    names = ("image", "map of the reference", "map of the candidate", "candidate minus reference")
    shown = [
        "–" if uri is None else markup.linked(uri, name, min(_WIDTH, drawn.width))
        for uri, name in zip(uris, names, strict=True)
    ]
    return said, *shown
