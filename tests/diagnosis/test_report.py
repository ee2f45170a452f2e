"""The report of a diagnosis: its files, the network as a line, maps before and after, and the page in a browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxcam
from onnxcam.compare.report.page import template
from onnxcam.diagnosis.causes import Cause
from onnxcam.diagnosis.damage import Damage
from onnxcam.diagnosis.diagnose import Subject
from onnxcam.diagnosis.diagnosis import Diagnosis, Effect, TensorDiagnosis
from onnxcam.diagnosis.formatting import effect_text, percent
from onnxcam.diagnosis.moved_biases import MovedBias
from onnxcam.diagnosis.places import find_places
from onnxcam.diagnosis.report.html import html
from onnxcam.diagnosis.report.line import find_jump, network_line
from onnxcam.diagnosis.report.maps import before_and_after
from onnxcam.errors import DiagnosisError, OutputError
from onnxcam.graph.io import load
from tests.diagnosis.twins import Twins, twins_in

FILES = {"diagnosis.html", "diagnosis.json", "model-explorer.json"}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return twins_in(tmp_path_factory.mktemp("twins"))


@pytest.fixture(scope="module")
def subject(twins: Twins) -> Subject:
    return Subject.open(twins.real, twins.spoilt, twins.images, 2)


@pytest.fixture(scope="module")
def found(subject: Subject) -> Diagnosis:
    return subject.diagnosis()


def tensor(name: str, place: int, **values: Any) -> TensorDiagnosis:
    """A tensor of a network of two convolutions."""
    given = {"kind": "activation", "share": 0.0, "accumulated": None, "sqnr": 40.0, "cause": None, "node": ""}
    effects = {"map": Effect(0.1, 0.1, 0.0, "a.png")}
    made = {"tensor": name, "name": name, "place": place, "shape": (1, 3), "effects": effects, "clipped": 0.0}
    return TensorDiagnosis(**{**made, **given, **values})


SMALL = Diagnosis(
    [
        tensor(
            "b", 3, share=0.5, accumulated=0.6, node="Relu", sqnr=20.0, cause=Cause("clipped", "it <clips>", "widen")
        ),
        tensor("w", 1, share=0.3, kind="weight", sqnr=10.0),
        tensor("c", 5, share=0.1, accumulated=0.9, node="Gemm"),
        tensor("a", 0, share=0.1, accumulated=0.1, node="Conv"),
    ],
    {"map": 0.4, "outputs": 0.2},
    ["a.png", "b.png"],
    ["lost"],
    ["<b>careful</b>"],
    [MovedBias("<u>bias", np.zeros(1), 0.2, 3.0)],
)


def test_the_sentence_says_tensor_share_cause_and_cure() -> None:
    assert SMALL.sentence == "Activation b causes 50 % of the damage, because it <clips>. Cure: widen"
    none = Diagnosis([tensor("a", 0, share=0.0)], {"outputs": 0.0}, ["a.png"])
    assert none.sentence.startswith("No rounding changes anything")
    even = Diagnosis([tensor("a", 0, share=0.04), tensor("b", 1, share=0.03)], {"map": 0.012}, ["a.png"])
    words = "Activation a causes 4.0 % of the damage; all rounding together changes the map by 1.2 %"
    assert even.sentence == f"No tensor stands out. {words}"
    alone = Diagnosis([tensor("a", 0, share=0.9)], {"outputs": 0.5}, ["a.png"])
    assert alone.sentence.endswith("90 % of the damage. Nothing about its range stands out: keep it in float")
    long = Diagnosis([tensor("a" * 500, 0, share=0.9)], {"outputs": 0.5}, ["a.png"])
    assert len(long.sentence) < 200


def test_moved_biases_are_in_the_json() -> None:
    assert SMALL.as_dict()["moved_biases"] == [{"name": "<u>bias", "change": 0.2, "steps": 3.0}]


def test_the_rank_by_noise_stands_beside_that_by_damage() -> None:
    assert SMALL.sqnr_ranks == {"w": 1, "b": 2, "c": 3, "a": 4}
    silent = Diagnosis([tensor("a", 0, sqnr=None), tensor("b", 1, sqnr=3.0)], {"map": 0.1}, ["a.png"])
    assert silent.sqnr_ranks == {"b": 1, "a": 2}


def test_the_first_jump_is_half_of_the_largest_or_more() -> None:
    jump = find_jump(SMALL)
    assert jump is not None
    assert (jump.tensor.name, jump.before, jump.after) == ("b", 0.1, 0.6)
    assert find_jump(Diagnosis([tensor("a", 0)], {"map": 0.1}, ["a.png"])) is None


def test_the_line_has_the_order_of_the_network_and_weights_beside_activations(twins: Twins, found: Diagnosis) -> None:
    places = find_places(load(twins.spoilt), found.tensors)
    columns = network_line(found, places)
    assert [column.operator for column in columns][:2] == ["input", "Relu"]
    firsts = [column.cells[0].tensors[0] for column in columns]
    assert [one.place for one in firsts] == sorted(one.place for one in firsts)
    assert {one.kind for one in firsts} == {"activation"}
    assert all(column.cells[1].kind == "weight" for column in columns[1:3])
    assert sum(len(cell.tensors) for column in columns for cell in column.cells) == len(found.tensors)
    assert max(cell.shade for column in columns for cell in column.cells) == 1.0


def test_a_tensor_that_the_file_lacks_is_drawn_alone() -> None:
    assert [column.cells[0].tensors[0].name for column in network_line(SMALL, {})] == ["a", "w", "b", "c"]


def test_maps_before_and_after_show_what_the_worst_tensor_does(subject: Subject, found: Diagnosis) -> None:
    first = before_and_after(found, subject)[0]
    real, quantised, alone, without = first.views
    assert (first.rank, first.tensor) == (1, found.tensors[0])
    assert first.image == found.tensors[0].effects["map"].worst
    assert real.iou == 1.0
    assert abs(without.score - real.score) < 0.1 * abs(alone.score - real.score)
    assert abs(alone.score - quantised.score) < 0.1 * abs(alone.score - real.score)
    assert without.iou is not None
    assert without.iou > 0.8


def test_the_page_escapes_names_and_names_its_parts() -> None:
    subject = type("Info", (), {"name": "x/<i>int8.onnx", "method": "gradcam"})
    text = html(SMALL, subject, {})  # type: ignore[arg-type]
    assert "<b>careful" not in text
    assert "it <clips>" not in text
    assert "&lt;u&gt;bias by 3 steps of its output" in text
    assert "What spoils <bdi>&lt;i&gt;int8.onnx</bdi>?" in text
    assert "from 10 % to 60 %" in text
    assert '+10.0 % <span class="spread quiet">± 0.0 %</span>' in text
    assert "Quantised tensors without a partner in the float model: <bdi>lost</bdi>" in text
    assert re.findall(r'<tr id="tensor-(\d)">', text) == ["1", "2", "3", "4"]


def test_head_and_foot_are_those_of_the_other_reports() -> None:
    subject = type("Info", (), {"name": "int8.onnx", "method": "gradcam"})
    text = html(SMALL, subject, {})  # type: ignore[arg-type]
    shared = template("onnxcam.compare.report", "page.html")
    head = shared[shared.index("<meta charset") : shared.index("<meta http-equiv")]
    assert text.startswith("<!doctype html>")
    assert head in text
    assert "<title>What spoils int8.onnx</title>" in text
    assert "with gradcam. This file is self-contained" in text
    assert text.rstrip().endswith("</html>")
    for name, package in (("diagnosis.html", "onnxcam.diagnosis.report"), ("report.html", "onnxcam.compare.report")):
        assert "<head>" not in template(package, name)


def test_the_folder_is_written_once_and_whole(twins: Twins, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = onnxcam.diagnose(twins.real, twins.spoilt, twins.images, out, most=1)
    assert {path.name for path in out.iterdir()} == FILES
    text = (out / "diagnosis.json").read_text("utf-8")
    assert "NaN" not in text
    assert json.loads(text)["sentence"] == found.sentence
    with pytest.raises(OutputError, match="holds a finished diagnosis; choose another folder"):
        onnxcam.diagnose(twins.real, twins.spoilt, twins.images, out)
    own = tmp_path / "own"
    own.mkdir()
    (own / "diagnosis.html").write_text("my notes")
    with pytest.raises(OutputError, match="was not written by onnxcam"):
        onnxcam.diagnose(twins.real, twins.spoilt, twins.images, own)
    assert (own / "diagnosis.html").read_text() == "my notes"


def test_the_page_in_a_browser(page: Any, subject: Subject, found: Diagnosis, twins: Twins, tmp_path: Path) -> None:
    places = find_places(load(twins.spoilt), found.tensors)
    text = html(found, subject.candidate.info, places, before_and_after(found, subject))
    (tmp_path / "report.html").write_text(text, "utf-8")
    page.goto((tmp_path / "report.html").as_uri())
    first = "#tensors tbody tr:first-child td:first-child"
    assert page.text_content(first) == "1"
    page.click("#tensors th:nth-child(8) button")  # by SQNR
    assert page.text_content("#tensors tbody tr:first-child td:nth-child(9)") == str(len(found.tensors))
    page.click("#tensors th:nth-child(1) button")
    assert page.text_content(first) == "1"
    assert page.text_content("#told").startswith(f"1. {found.tensors[0].words}\n")  # before the pointer is on a cell
    page.hover('.line a[href="#tensor-2"] >> nth=0')
    assert page.text_content("#told").startswith(f"2. {found.tensors[1].words}\n")
    page.hover('.line a[href="#tensor-1"] >> nth=0')
    assert page.text_content("#told").startswith(f"1. {found.tensors[0].words}\n")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_is_not_finite_is_left_out_and_said(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Subject.damages
    bad = {subject.images[0].picture: "map"}

    def damaged(self: Subject, prepared: Any, target: int | str = "top") -> list[Damage]:
        (found,) = real(self, prepared, target)
        lost = bad.get(prepared.picture)
        return [found if lost is None else replace(found, change={**found.change, lost: float("nan")})]

    monkeypatch.setattr(Subject, "damages", damaged)
    found = subject.diagnosis()
    assert len(found.images) == 2
    assert any(one.startswith("left out: map in ") for one in found.warnings)
    assert json.dumps(found.as_dict(), allow_nan=False)
    bad.update({one.picture: "outputs" for one in subject.images})
    with pytest.raises(DiagnosisError, match="no image can be diagnosed, which is NaN or infinite"):
        subject.diagnosis()


def test_numbers_as_text() -> None:
    assert [percent(share) for share in (0.0, 0.042, 0.42, 1.5)] == ["0.0 %", "4.2 %", "42 %", "150 %"]
    effect = Effect(0.2, -0.125, 0.05, "a.png")
    assert effect_text("map", effect) == "-12.5 ± 5.0 %"
    assert effect_text("outputs", effect, 0) == "-12 ± 5 %"
    assert effect_text("score", effect) == "-0.12 ± 0.05"
    assert effect_text("map", None) == ""
