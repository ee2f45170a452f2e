"""One network, quantised in QDQ form, in QOperator form, and rewritten by ONNX Runtime: one diagnosis."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxcam.diagnosis.diagnose import diagnose
from onnxcam.diagnosis.diagnosis import Diagnosis
from tests.compare.twins import ASSETS, PICTURES, SHAPES, quantize, spoilt
from tests.quantisers import optimised
from tests.runtime import new_runtime

quantization = pytest.importorskip("onnxruntime.quantization")


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibration")
    for path in PICTURES:
        (folder / path.name).write_bytes((ASSETS / path.name).read_bytes())
    return folder


SAME = {"view": "mean"}  # a reshape of it with the same scale, of which ONNX Runtime drops one


def ranking(found: Diagnosis, kind: str = "activation") -> list[str]:
    return [SAME.get(one.name, one.name) for one in found.tensors if one.kind == kind]


@new_runtime
def test_the_same_diagnosis(tmp_path: Path, calibration: Path) -> None:
    qdq = quantize(SHAPES, tmp_path / "qdq.onnx", calibration)
    bad = spoilt(qdq, tmp_path / "bad.onnx", 2)
    rewritten = tmp_path / "rewritten.onnx"
    onnx.save(optimised(onnx.load(bad), tmp_path), rewritten)
    first, second = (diagnose(SHAPES, path, PICTURES[:1]) for path in (bad, rewritten))
    assert ranking(first)[:3] == ranking(second)[:3]
    assert first.tensors[0].cause is not None
    assert second.tensors[0].cause is not None
    assert first.tensors[0].cause.id == second.tensors[0].cause.id


def test_operators_on_integers(tmp_path: Path, calibration: Path) -> None:
    forms = {
        form: quantize(SHAPES, tmp_path / f"{form}.onnx", calibration, quant_format=quantization.QuantFormat[form])
        for form in ("QDQ", "QOperator")
    }
    first, second = (diagnose(SHAPES, path, PICTURES[:1]) for path in forms.values())
    assert ranking(first)[:2] == ranking(second)[:2]
    assert ranking(first, "weight")[:2] == ranking(second, "weight")[:2]
