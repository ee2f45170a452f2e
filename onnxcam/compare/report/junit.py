"""Validation → JUnit XML for Jenkins, GitLab and GitHub Actions: one test case per requirement."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

import onnxcam
from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.report import formatting, ranking
from onnxcam.compare.slices import told
from onnxcam.text import visible

if TYPE_CHECKING:
    from onnxcam.compare.outcome import ModelInfo
    from onnxcam.compare.validation import Validation, Verdict

__all__ = ["SUITE", "WORST", "junit"]

SUITE = "onnxcam.validate"
WORST = 5
"""Number of images listed in a failure."""

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent (https://www.w3.org/TR/xml/#charsets)."""


def junit(validation: Validation) -> str:
    """Return *validation* as JUnit XML, in the form of Jenkins' junit-10.xsd.

    One suite; its properties describe the two models. A requirement that does not hold is a failure with the measured
    value and the worst images. A doubt is an error, and requirements that do not hold are then skipped. Unreadable
    images are listed in system-err. Characters that XML cannot represent are escaped.
    """
    failures, doubts = sum(not verdict.holds for verdict in validation.verdicts), int(bool(validation.doubt))
    counts = {"tests": len(validation.verdicts) + doubts, "failures": 0 if doubts else failures, "errors": doubts}
    numbers = {name: str(count) for name, count in counts.items()}
    suites = Element("testsuites", {"name": SUITE, **numbers})
    skipped = {"skipped": str(failures if doubts else 0)}
    suite = SubElement(suites, "testsuite", {"name": SUITE, **numbers, **skipped})
    _add_properties(suite, validation)
    table = ranking.columns(pair.values for pair in validation.journal)
    if validation.doubt:
        case = SubElement(suite, "testcase", {"classname": SUITE, "name": "same input"})
        SubElement(case, "error", {"type": "doubt", "message": _legal(validation.doubt)})
    for verdict in validation.verdicts:
        _add_case(suite, validation, verdict, table)
    if validation.unreadable:
        lines = (f"{visible(name)}: {visible(why, 400)}" for name, why in validation.unreadable)
        SubElement(suite, "system-err").text = _legal("could not be read:\n" + "\n".join(lines))
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, "unicode") + "\n"


def _add_properties(suite: Element, validation: Validation) -> None:
    entries = {"onnxcam": onnxcam.__version__, "pictures": str(len(validation.journal))}
    entries["unreadable"] = str(len(validation.unreadable))
    for which, model in (("reference", validation.reference), ("candidate", validation.candidate)):
        entries |= {f"{which}.{name}": text for name, text in _model_properties(model).items()}
    entries |= {f"warning.{i}": warning for i, warning in enumerate(validation.warnings, 1)}
    properties = SubElement(suite, "properties")
    for name, text in entries.items():
        SubElement(properties, "property", {"name": name, "value": _legal(text)})


def _model_properties(model: ModelInfo) -> dict[str, str]:
    return {name: str(value) for name, value in vars(model).items() if value is not None}


def _add_case(suite: Element, validation: Validation, verdict: Verdict, table: ranking.Columns) -> None:
    case = SubElement(suite, "testcase", {"classname": SUITE, "name": verdict.words})
    if verdict.holds:
        return
    message = f"{verdict.words.split()[0]} is {formatting.value(verdict)}, required is {verdict.words}"
    if validation.doubt:
        SubElement(case, "skipped", {"message": _legal(message)})
        return
    failure = SubElement(case, "failure", {"type": "requirement", "message": _legal(message)})
    failure.text = _legal("\n".join([message, *_where(validation, verdict.metric, table)]))


def _where(validation: Validation, metric: str, table: ranking.Columns) -> list[str]:
    """Return the worst images of *metric*, one line each; of a metric of all images the worst slices."""
    if AGREEMENT_METRICS[metric].total:
        slices = () if validation.truth is None else validation.truth.slices
        return [f"{formatting.number(one.metric, one.candidate)}\t{visible(told(one))}" for one in slices[:WORST]]
    if metric not in table:
        return ["no image has a value"]
    first = ranking.order(table, metric)[:WORST]
    return [f"{_number(metric, table[metric][at])}\t{visible(validation.journal[at].picture)}" for at in first.tolist()]


def _number(metric: str, value: float) -> str:
    return "none" if np.isnan(value) else formatting.single(metric, value)


def _legal(text: str) -> str:
    return _ILLEGAL.sub(lambda found: visible(found[0]), text)
