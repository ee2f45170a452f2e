"""Comparison of models without a known task: hand-computed cases, and outputs of odd axes, sound and spoilt."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.observer import Observer
from onnxcam.compare.pack import pack
from onnxcam.compare.record import record
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tasks.tensors import TensorsPrediction
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from tests.command import Ran
from tests.compare.tasks.twins import compared, drawn, headed, quantised, spoilt, untold
from tests.compare.test_pack import runner, unpacked

LAST = np.array([0, 0, 1.0])
A, B = np.array([[1.0, 3.0]]), np.array([1.0, 2.0, 3.0])


def tensors(path: Path) -> Path:
    """Write a model whose output has axes of no task."""
    return untold(
        headed("embedder", path, "regression", "w = Constant<value_ints=[0, 4, 8]>() z = Reshape(y, w)", "z[4, 8]")
    )


def of(**outputs: Any) -> TensorsPrediction:
    return TensorsPrediction.of({name: np.asarray(y) for name, y in outputs.items()})


def test_what_is_kept_of_the_outputs() -> None:
    found = of(a=A, n=np.int64(7), words=np.array(["x"]), flags=np.array([True, False]))
    assert (found.names, found.shapes) == (("a", "n", "flags"), ("1,2", "", "2"))
    assert [part.tolist() for part in found.parts] == [[1, 3], [7], [1, 0]]
    assert found.answer(None).words == "a: 1.0 to 3.0; n: 7.0 to 7.0; flags: 0.0 to 1.0"
    again = TensorsPrediction.from_arrays(found.arrays())
    assert (again.names, again.shapes) == (found.names, found.shapes)
    np.testing.assert_array_equal(again.values, found.values)
    assert of().answer(None).words == "no number"


def test_the_worst_output_counts() -> None:
    found = of(a=A, b=B).compare(of(a=A, b=B + LAST))
    assert found.values["cosine"] == pytest.approx((B @ (B + LAST)) / math.sqrt(14 * 21))
    assert found.values["output_error"] == pytest.approx(1 / B.std(), rel=1e-6)
    assert found.details["outputs"][0] == ["a", 1, 0]


def test_outputs_of_other_names_and_orders() -> None:
    assert of(a=A, b=B).compare(of(b=B, a=A)).values["output_error"] == 0
    assert of(a=A, b=B).compare(of(x=A, y=B)).values["output_error"] == 0
    with pytest.raises(MetricError, match="the reference has the outputs a, b and the candidate b: export both"):
        of(a=A, b=B).compare(of(b=B))
    with pytest.raises(MetricError, match="the output 'a' has 2 axes in the reference and 1 in the candidate"):
        of(a=A).compare(of(a=B))


def test_an_output_of_another_length_does_not_agree() -> None:
    found = of(b=B).compare(of(b=B[:2]))
    assert found.values["cosine"] == 0
    assert found.notes == ["the output 'b' has the shapes [3] and [2]: no agreement"]


def test_nan_does_not_agree() -> None:
    found = of(b=B).compare(of(b=B * np.nan))
    assert (found.values["cosine"], found.notes) == (0, ["the candidate's output 'b' holds NaN or infinity"])


def test_what_is_concluded() -> None:
    pair = compared(of(a=A, b=B), of(a=A, b=B + 3 * LAST))
    assert TensorsPrediction.conclude([pair], None) == [
        "the output 'b' differs most: its largest error is 3.67 times the reference's spread"
    ]
    assert TensorsPrediction.conclude([compared(of(b=B), of(b=B + 1))], None) == []
    with pytest.raises(MetricError, match="no output can be compared in any of the 1 images"):
        TensorsPrediction.conclude([compared(of(b=B * 0), of(b=B))], None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": b"3\0"}, "'shapes' are 1 instead of 2"),
        ({"shapes": b"1,2\0x\0"}, "'shapes' holds a text that is no lengths"),
        ({"shapes": b"1,2\0-3\0"}, "'shapes' holds a text that is no lengths"),
        ({"shapes": b"1,2\0" + b"99999999," * 7 + b"9\0"}, "'values' are 5 instead of "),
        ({"shapes": b"1,2\09999999999\0"}, "'shapes' holds a text that is no lengths"),
    ],
)
def test_recordings_of_nonsense(change: dict[str, bytes], message: str) -> None:
    arrays = of(a=A, b=B).arrays() | {name: np.frombuffer(text, np.uint8) for name, text in change.items()}
    with pytest.raises(ValueError, match=message):
        TensorsPrediction.from_arrays(arrays)


def test_a_sound_and_a_spoilt_file(tmp_path: Path) -> None:
    model, photos = tensors(tmp_path / "tensors.onnx"), drawn(tmp_path / "photos", count=4)
    good = quantised(model, photos, tmp_path / "int8.onnx")
    found = validate(model, good, photos)
    assert (found.task, found.journal[0].objects[0].target) == ("tensors", "z[:, :, :].sum()")
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert found.summaries["pearson"].mean > 0.9
    assert validate(model, spoilt(good, tmp_path / "bad.onnx"), photos).verdict == "failed"


def test_the_command(onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    model, photos = tensors(tmp_path / "tensors.onnx"), drawn(tmp_path / "photos", count=2)
    other = untold(
        headed(
            "embedder",
            tmp_path / "x.onnx",
            "regression",
            "w = Constant<value_ints=[0, 4, 8]>() q = Reshape(y, w)",
            "q[4, 8]",
        )
    )
    done = onnxcam("validate", model, other, photos, "-o", "a", "-t", "z[0, 3, 1]")
    assert done.code == 0, done.err
    for target, message in (
        ("dog", "target 'dog' is no element of a model; such as z[0, 0, 0]"),
        ("u[0]", "no element"),
    ):
        refused = onnxcam("validate", model, other, photos, "-o", "b", "-t", target)
        assert (refused.code, refused.err.count("error:"), message in refused.err) == (2, 1, True), refused.err


def test_record_and_pack(bare: Path, tmp_path: Path) -> None:
    model, photos = tensors(tmp_path / "tensors.onnx"), sorted(drawn(tmp_path / "p", count=2).iterdir())
    record(model, photos, tmp_path / "host")
    observer = Observer(model)
    (expected,) = observer.outcomes([observer.prepare(photos[0])])
    np.testing.assert_array_equal(Recording(tmp_path / "host")[0].map, expected.map)
    pack(model, tmp_path / "device.zip", photos)
    done = runner(bare, unpacked(tmp_path / "device.zip") / "run.py", "-o", tmp_path / "run")
    assert done.code == 0, done.err
    found = compare_recordings(tmp_path / "host", tmp_path / "run")
    assert found.summaries["output_error"].mean < 0.01
    assert isinstance(Recording(tmp_path / "run")[0].prediction, TensorsPrediction)
