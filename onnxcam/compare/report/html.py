"""Validation → one self-contained HTML file: no network access, no framework.

Its content security policy allows one style and one script, by their hashes, so file names and labels are always text.
Jinja escapes them, and invisible characters are written out (`onnxcam.text`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnxcam.compare import layer_agreement
from onnxcam.compare.agreement import AGREEMENT_METRICS, DISTANCES
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.map_comparison import ObjectComparison
from onnxcam.compare.report.formatting import capital, digits, interval, number, single, value
from onnxcam.compare.report.formatting import count as pictures_of
from onnxcam.compare.report.histogram import Histogram, histogram
from onnxcam.compare.report.page import embedded, render, require, template
from onnxcam.compare.report.panel import ObjectPanel, panel, ramps
from onnxcam.compare.report.slice_tables import slice_tables
from onnxcam.compare.report.table import ROWS, ResultTable, result_table
from onnxcam.text import visible

if TYPE_CHECKING:
    from onnxcam.compare.layer_agreement import LayerAgreement, LayerMarks
    from onnxcam.compare.outcome import Answer, ModelInfo
    from onnxcam.compare.validation import Statistics, Validation, Verdict

__all__ = ["LISTED", "TENSORS", "WORST", "html", "require", "short_names"]

WORST = 24
"""Number of images shown, the worst first."""
TENSORS = 5
"""Number of tensors of a diagnosis that are listed."""
LISTED = 50
"""Maximum number of unreadable images, and of notes, that are listed."""


_EXACT = ("detection", "text", "caption", "description")
"""Tasks in which another answer is another meaning, not another rounding of numbers."""


def html(validation: Validation, worst_pictures: int = WORST, by: str | None = None) -> str:
    """Return the report of *validation* as one HTML file. Images are read again from their files.

    The *worst_pictures* worst images, by the metric *by* or by all metrics, are shown with both maps and their
    difference; a table lists all images. Missing image files are reported.

    Raises:
        OutputError: Jinja is not installed.
        MetricError: no image has the metric *by*.
    """
    require()
    from markupsafe import Markup

    variables = _template_variables(validation, result_table(validation.journal, by), worst_pictures)
    variables |= {"rows": Markup(embedded(variables["rows"])), "ordered_by": _ordered_by(by)}
    style, script = (template(__package__, name) for name in ("report.css", "report.js"))
    return render(__package__, "report.html", variables, style, script)


def _template_variables(validation: Validation, listed: ResultTable, count: int) -> dict[str, Any]:
    """Return the variables of the template."""
    shown = list(enumerate(listed.order[:count], 1))
    cards = [_card(validation.journal[at], rank, listed, validation) for rank, at in shown]
    anchors = {listed.lines[at].picture: rank for rank, at in shown}
    heat, difference = ramps()
    return {
        "verdict": validation.verdict,
        "models": short_names(validation.reference.name, validation.candidate.name),
        "sentence": _sentence(validation, len(listed.order)),
        "verdicts": [_verdict(one, validation.summaries.get(one.metric)) for one in validation.verdicts],
        "warnings": [visible(warning, 1000) for warning in validation.warnings],
        "notes": [(visible(note, 400), times) for note, times in listed.notes.most_common(LISTED)],
        "unreadable": [(visible(name), visible(why, 400)) for name, why in validation.unreadable[:LISTED]],
        "unreadable_left": max(0, len(validation.unreadable) - LISTED),
        "sides": _sides(validation.reference, validation.candidate),
        "diagnosis": None if validation.diagnosis is None else _diagnosis(validation.diagnosis),
        "summary": [
            _summary(validation.summaries[metric], listed, _bounds(validation.verdicts, metric), anchors)
            for metric in AGREEMENT_METRICS
            if metric in validation.summaries
        ],
        "layers": [
            _layer(level, mark)
            for level, mark in zip(validation.levels, layer_agreement.marks(validation.levels), strict=True)
        ],
        "layers_sentence": visible(layer_agreement.sentence(validation.levels), 400) if validation.levels else "",
        "accuracy": _accuracy(validation),
        **slice_tables(validation),
        "cards": cards,
        "marks": {"detection": "Boxes", "keypoints": "Points"}.get(validation.task, ""),
        "folder": visible(listed.folder),
        "count": len(listed.order),
        "left_out": max(0, len(listed.order) - ROWS),
        "columns": listed.columns,
        "rows": listed.data(len(cards)),
        "heat_ramp": heat,
        "difference_ramp": difference,
    }


def _accuracy(validation: Validation) -> list[tuple[str, ...]]:
    """Return the measures by the ground truth: title, id, reference, candidate."""
    found = {} if validation.truth is None else validation.truth.values
    return [
        (capital(AGREEMENT_METRICS[metric].title), metric, *(number(metric, value) for value in pair))
        for metric, pair in found.items()
    ]


def _bounds(verdicts: Sequence[Verdict], metric: str) -> list[float]:
    """Return the bounds of *metric*: the last word of each of its requirements, such as ``iou.low >= 0.6``."""
    return [float(verdict.words.split()[-1]) for verdict in verdicts if verdict.metric == metric]


def _sentence(validation: Validation, count: int) -> str:
    pictures = pictures_of(count)
    failed = sum(not verdict.holds for verdict in validation.verdicts)
    total = len(validation.verdicts)
    if validation.doubt:
        return f"On {pictures}: {visible(validation.doubt, 1000)}."
    if not total:
        return f"Nothing was required of {pictures}."
    if not failed:
        return f"{'The requirement holds' if total == 1 else f'All {total} requirements hold'} on {pictures}."
    return f"{failed} of {total} requirements {'does' if failed == 1 else 'do'} not hold on {pictures}."


def _diagnosis(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sentence of a diagnosis and its worst tensors."""
    return {
        "sentence": visible(found["sentence"], 1000),
        "tensors": [
            (
                f"{one['kind']} {visible(one['name'])}",
                f"{100 * one['share']:.0f} %",
                "–" if one["sqnr"] is None else f"{one['sqnr']:.1f} dB",
                str(one["sqnr_rank"]),
                "" if one["cause"] is None else visible(f"{one['cause']['words']}; {one['cause']['cure']}", 400),
            )
            for one in found["tensors"][:TENSORS]
        ],
    }


def _verdict(verdict: Verdict, summary: Statistics | None) -> dict[str, Any]:
    return {
        "title": capital(AGREEMENT_METRICS[verdict.metric].title),
        "words": verdict.words,
        "value": value(verdict),
        "interval": "" if summary is None else interval(summary),
        "holds": verdict.holds,
    }


def short_names(*paths: str) -> list[str]:
    """Return the file names, or the paths if the names are equal."""
    names = [re.split(r"[/\\]", path)[-1] for path in paths]
    return [visible(one) for one in (names if len(set(names)) == len(names) else paths)]


def _sides(reference: ModelInfo, candidate: ModelInfo) -> list[tuple[str, str, str]]:
    rows = {
        "File": "name",
        "SHA-256": "sha256",
        "Kind": "kind",
        "Method": "method",
        "Layer": "layer",
        "Preprocessing": "preprocess",
        "Provider": "provider",
    }
    return [(title, _field(reference, name), _field(candidate, name)) for title, name in rows.items()]


def _field(model: ModelInfo, name: str) -> str:
    return visible(str(getattr(model, name) or "–"), 400)


def _summary(summary: Statistics, listed: ResultTable, bounds: list[float], anchors: dict[str, int]) -> dict[str, Any]:
    metric = AGREEMENT_METRICS[summary.metric]
    drawn = histogram(listed.table[metric.id], bounds, yes_or_no=not digits(metric.id))
    even = summary.worst == summary.median == summary.mean  # no image is worse than another
    return {
        "metric": metric.id,
        "title": capital(metric.title),
        "arrow": "↑" if metric.better == "higher" else "↓",
        "mean": number(metric.id, summary.mean),
        "interval": interval(summary),
        "median": number(metric.id, summary.median),
        "worst": number(metric.id, summary.worst),
        "worst_picture": "" if even else visible(listed.short(summary.worst_picture), 60),
        "anchor": None if even else anchors.get(summary.worst_picture),
        "count": summary.count,
        "missing": summary.missing,
        "histogram": drawn,
        "described": _described(metric.title, drawn, summary, bounds),
    }


def _described(title: str, drawn: Histogram | None, summary: Statistics, bounds: list[float]) -> str:
    """Return the text alternative of the histogram."""
    if drawn is None:
        return ""
    required = "".join(f", required {number(summary.metric, bound)}" for bound in bounds)
    return (
        f"{title}: {summary.count} values from {drawn.low:.4g} to {drawn.high:.4g}, "
        f"mean {number(summary.metric, summary.mean)}{required}"
    )


def _layer(level: LayerAgreement, mark: LayerMarks) -> dict[str, Any]:
    names = dict.fromkeys(visible(name) for name in (level.reference, level.candidate))
    values = (level.activations, mark.activations), (level.pearson, False), (level.iou, mark.map)
    numbers = [("–" if one is None else f"{one:.3f}", wrong) for one, wrong in values]
    return {"names": list(names), "size": level.size, "numbers": numbers}


def _card(pair: ImageComparison, rank: int, listed: ResultTable, validation: Validation) -> dict[str, Any]:
    views = panel(pair, validation.folders)
    of_classes = validation.task == "classification"
    said = [_class_answer(answer) for answer in pair.answers] if of_classes else None
    return {
        "rank": rank,
        "name": visible(listed.short(pair.picture)),
        "panel": views,
        "missing": visible(views.missing, 400),
        "several": not of_classes,
        "answers": [visible(answer.words, 200) for answer in pair.answers],
        "differs": validation.task in _EXACT and pair.answers[0].words != pair.answers[1].words,
        "objects": [
            _object(one, view, said, validation, len(pair.objects) > 1)
            for one, view in zip(pair.objects, views.objects, strict=True)
        ],
        "metrics": [(id, _of_pair(id, pair)) for id in AGREEMENT_METRICS if id in pair.values],
        "notes": [visible(note, 400) for note in pair.notes],
    }


def _of_pair(metric: str, pair: ImageComparison) -> str:
    """Return the value of *metric*; a distance in a volume in millimetres or voxels too."""
    value = single(metric, pair.values[metric])
    if metric not in DISTANCES or len(pair.size) < 3:
        return value
    diagonal, unit = pair.diagonal
    return f"{value} = {pair.values[metric] * diagonal:.1f} {unit}"


def _class_answer(answer: Answer) -> str:
    sure = "" if answer.confidence is None else f" {answer.confidence:.1%}"
    return visible(answer.words, 80) + sure


def _object(
    one: ObjectComparison, view: ObjectPanel, said: Sequence[str] | None, validation: Validation, several: bool
) -> dict[str, Any]:
    """Return one row of a card; *said* are the answers of classifiers, else the scores of the thing are shown.

    If it is one of *several* things of an image, the correlation of its own maps is shown too.
    """
    found = any(score is not None for score in one.scores)
    shown = "cosine {:.3f}" if validation.task == "embedding" else "{:.1%}"
    scores = ["not found" * found if score is None else shown.format(score) for score in one.scores]
    return {
        "panel": view,
        "target": visible(_name(one, validation.labels), 120),
        "answers": said or scores,
        "pearson": f"{one.values['pearson']:.2f}" if several and "pearson" in one.values else "",
        "differs": said is not None and said[0].rpartition(" ")[0] != said[1].rpartition(" ")[0],
    }


def _name(one: ObjectComparison, names: Sequence[str] | None) -> str:
    if one.index is None or one.target.startswith("keypoint="):
        return one.target
    return names[one.index] if names and one.index < len(names) else f"class {one.index}"


def _ordered_by(by: str | None) -> str:
    return "the mean of their ranks in all metrics" if by is None else AGREEMENT_METRICS[by].title
