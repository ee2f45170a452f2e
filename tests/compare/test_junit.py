"""JUnit XML: what CI systems read of a validation."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from onnxcam.compare.report.junit import junit
from onnxcam.compare.slices import TruthScores, TruthSlice
from onnxcam.text import visible
from tests.compare.hostile import HOSTILE
from tests.compare.validations import SIDES, pair, validation

COUNTS = {"name", "tests", "failures", "errors", "time"}
ATTRIBUTES = {  # of Jenkins' junit-10.xsd, which GitLab's reader takes too
    "testsuites": COUNTS,
    "testsuite": COUNTS | {"skipped", "timestamp", "hostname", "id", "package", "file", "log", "url", "group"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time", "group"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "skipped": {"message"},
    "system-err": set(),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "properties": {"property"},
    "testcase": {"failure", "error", "skipped", "system-out", "system-err"},
}
REQUIRED = {"testsuite": {"name", "tests", "failures", "errors"}, "testcase": {"name"}, "property": {"name", "value"}}


def read(text: str) -> Element:
    """Parse what a CI system would, and hold it against the schema."""
    root = ElementTree.fromstring(text.encode("utf-8"))
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag]
        assert REQUIRED.get(element.tag, set()) <= set(element.attrib)
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
    return root


def test_a_test_for_each_requirement() -> None:
    pairs = [pair("a.png", 0.1), pair("b.png", 0.7), pair("c.png", 0.3)]
    made = validation(pairs, required=("iou >= 0.7", "peak <= 0.5"))
    root = read(junit(made))
    suite = root[0]
    assert (root.get("tests"), root.get("failures"), suite.get("tests"), suite.get("failures")) == ("2", "1", "2", "1")
    assert (root.get("time"), suite.get("time")) == (None, None)  # two runs of the same write the same bytes
    failed, held = suite.findall("testcase")
    assert (failed.get("name"), held.get("name")) == ("iou >= 0.7", "peak <= 0.5")
    assert list(held) == []
    (failure,) = failed
    assert failure.get("message") == "iou is 0.633, required is iou >= 0.7"
    assert failure.text == "iou is 0.633, required is iou >= 0.7\n0.300\tb.png\n0.700\tc.png\n0.900\ta.png"


def test_a_doubt_is_an_error_and_no_failure() -> None:
    made = validation([pair("a.png", 0.7)], required=("iou >= 0.7", "peak <= 0.5"), doubt="state -p unit")
    root = read(junit(made))
    suite = root[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["3", "0", "1", "1"]
    doubt, skipped, held = suite.findall("testcase")
    assert [child.get("message") for child in doubt] == ["state -p unit"]
    assert [child.tag for child in skipped] == ["skipped"]
    assert list(held) == []


def test_the_sides_are_properties() -> None:
    root = read(junit(validation([pair("a.png")], warnings=["first", "second"])))
    said = {one.get("name"): one.get("value") for one in root.iter("property")}
    for which, side in zip(("reference", "candidate"), SIDES, strict=True):
        assert {name: said[f"{which}.{name}"] for name in vars(side)} == vars(side)
    assert (said["pictures"], said["unreadable"]) == ("1", "0")
    assert (said["warning.1"], said["warning.2"]) == ("first", "second")


def test_a_failure_names_five_pictures_those_without_a_value_first() -> None:
    pairs = [pair(f"{i}.png", i / 100) for i in range(50, 90)] + [pair("blank.png", values={})]
    (failure,) = read(junit(validation(pairs, required=("iou >= 0.9",)))).iter("failure")
    assert failure.text is not None
    assert failure.text.splitlines()[1:] == ["none\tblank.png", *(f"0.{100 - i}0\t{i}.png" for i in (89, 88, 87, 86))]


def test_a_failure_by_the_truth_names_the_worst_slices() -> None:
    slices = [TruthSlice("class", f"class {n}", 20, "map50_95", 0.9, n / 10) for n in range(7)]
    made = validation([pair("a.png")], required=("map50 >= 0.5",), truth=TruthScores({"map50": (0.9, 0.4)}, slices))
    (failure,) = read(junit(made)).iter("failure")
    assert failure.text is not None
    assert failure.text.splitlines()[1:] == [f"0.{n}00\t'class {n}' (20 objects)" for n in range(5)]


def test_what_could_not_be_measured_has_failed() -> None:
    (failure,) = read(junit(validation([pair("a.png")], required=("energy >= 0.5",)))).iter("failure")
    assert failure.get("message") == "energy is not measured, required is energy >= 0.5"
    assert failure.text is not None
    assert failure.text.endswith("no image has a value")


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_is_text(name: str) -> None:
    made = validation(
        [pair(name, 0.9)], unreadable=[(name, name)], warnings=[name, "\ud800 \ufffe \x07"], labels=[name, name]
    )
    text = junit(made)
    root = read(text)
    texts = [failure.text or "" for failure in root.iter("failure")]
    assert all(visible(name) in one for one in texts)
    errors = root.find("testsuite/system-err")
    assert errors is not None
    assert visible(name) in (errors.text or "")
    said = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert said["warning.2"] == "\\ud800 \\ufffe \\x07"
