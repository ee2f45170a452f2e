"""The model's other inputs: words, numbers, files; and what is known of a network before anything is explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import ModelError
from onnxcam.media import image
from tests.targets.opened import Opened

WORDS = ["", "What", "colour", "is", "the", "circle", "[CLS]"]
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
several (float[n, 3, 2, 2] x, int64[n, 4] question, float[n, 2] pose, float s) => (float[n, 2] y)
<int64[2] row = {-1, 1}, int64[1] one = {1}>
{
    p = GlobalAveragePool(x)
    f = Flatten(p)
    m = ReduceMean<axes = [1], keepdims = 1>(f)
    q = Cast<to = 1>(question)
    r = ReduceSum(q, one)
    a = Add(m, r)
    b = Mul(a, s)
    y = Add(b, pose)
}
"""
X = np.ones((1, 3, 2, 2), np.float32)


def several(**settings: Any) -> Opened:
    model = onnx.parser.parse_model(MODEL)
    onnx.helper.set_model_props(model, {"onnxcam": json.dumps({"schema": 1, "vocabulary": {"question": WORDS}})})
    return Opened(model, **settings)


READ = [
    ("question", "what colour?", [[1, 2, 0, 0]]),
    ("question", "The CIRCLE is the", [[4, 5, 3, 4]]),
    ("question", "", [[0, 0, 0, 0]]),
    ("question", [1, 2, 3, 4], [[1, 2, 3, 4]]),
    ("question", np.array([[1, 2, 3, 4]]), [[1, 2, 3, 4]]),
    ("pose", "0.5,-1", [[0.5, -1]]),
    ("pose", "[[0.5, 1e1]]", [[0.5, 10]]),
    ("s", "2", 2),
]


@pytest.mark.parametrize(("name", "given", "expected"), READ, ids=str)
def test_values(name: str, given: Any, expected: Any, tmp_path: Path) -> None:
    network = several().network
    if name == "s":
        given = np.float32(given)
    found = network.read_inputs({name: given})[name]
    np.testing.assert_array_equal(found, np.asarray(expected, found.dtype))
    np.save(tmp_path / "value.npy", found)
    again = network.read_inputs({name: str(tmp_path / "value.npy")})[name]
    np.testing.assert_array_equal(again, found)
    assert again.dtype == found.dtype == (np.int64 if name == "question" else np.float32)


ERRORS: list[tuple[str, Any, str]] = [
    ("posse", "1,2", "the model has no other input 'posse'; there is question, pose, s. Did you mean 'pose'?"),
    (
        "question",
        "what color",
        "--input question: the word 'color' is not in the model's vocabulary of 7. Did you mean 'co",
    ),
    ("question", "the the the the the", "--input question: 5 words are too many; the model takes 4"),
    ("question", [0.5, 1, 2, 3], r"--input question: the model takes whole numbers \(int64\) from -9223"),
    ("question", [1e30, 1, 2, 3], r"--input question: the model takes whole numbers \(int64\) from -9223"),
    ("pose", "1,1e999", "--input pose: the values hold NaN or infinity; give finite numbers"),
    ("pose", "1,NaN", "--input pose: the values hold NaN or infinity; give finite numbers"),
    ("pose", '"a",1', "--input pose: the model takes numbers, not "),
    ("pose", "[[1],[1,2]]", "--input pose: the model takes numbers, not "),
    ("pose", {}, "--input pose: the model takes numbers, not {}"),
    ("pose", "1," + "9" * 400, "--input pose: the model takes numbers, not "),
    ("pose", "[" * 100000, r"--input pose: '\[\[\[.*…\[.*' is neither numbers"),
    (
        "pose",
        "left",
        r"--input pose: 'left' is neither numbers \(1,0,3.5\) nor an .npy file nor an image, and the file",
    ),
    ("pose", "1,2,3", r"--input pose: the shape is \[1, 3\], but the model takes \[n,2\]"),
    ("pose", [[[1, 2]]], r"--input pose: the shape is \[1, 1, 1, 2\], but the model takes"),
    ("pose", "none.npy", "--input pose: none.npy: no such file; check the name"),
]


@pytest.mark.parametrize(("name", "given", "message"), ERRORS, ids=[message[:40] for *_, message in ERRORS])
def test_errors(name: str, given: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        several().network.read_inputs({name: given})


def test_a_missing_input_is_named() -> None:
    opened = several(given={"question": "what", "pose": "0,0"})
    message = r"the model has 4 inputs and takes 's' \[\] \(float\) beside the image; give it with --input s="
    with pytest.raises(ModelError, match=message):
        opened.network.feeds(X, {})


def test_feeds_are_repeated_for_each_picture() -> None:
    opened = several(given={"question": "what", "pose": "0,1", "s": np.float32(2)})
    feeds = opened.network.feeds(np.repeat(X, 3, axis=0), {"pose": np.array([[1, 2]], np.float32)})
    assert feeds["question"].tolist() == [[1, 0, 0, 0]] * 3
    assert feeds["pose"].tolist() == [[1, 2]] * 3
    assert feeds["s"] == 2


TWO = """
<ir_version: 8, opset_import: ["" : 17]>
two (float[n, 3, 2, 2] left, float[n, 3, 2, 2] right) => (float[n, 3] y)
{ a = Relu(left) b = Neg(right) c = Add(a, b) p = GlobalAveragePool(c) y = Flatten(p) }
"""


def test_which_input_is_the_picture(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(TWO)
    said = "the model takes 2 images; the map explains 'left', and --wrt another of 'right'"
    first = Opened(model).network
    assert first.picture == "left"
    assert said in first.warnings
    assert said not in Opened(model, given={"right": np.zeros((1, 3, 2, 2), np.float32)}).network.warnings
    with pytest.raises(ModelError, match="the model has no input 'middle'; there are 'left'"):
        Opened(model, wrt="middle")
    one, other = (np.full((2, 2, 3), value, np.uint8) for value in (51, 255))
    image.write(tmp_path / "other.png", other)
    for given in (other, str(tmp_path / "other.png")):
        explainer = Explainer(model, "gradient", wrt="left", inputs={"right": given}, preprocess="unit")
        explanation = explainer(one, target=0)
        assert explanation.score == pytest.approx(0.2 - 1)
        np.testing.assert_allclose(explanation.raw[0], 0.25)
    turned = Explainer(model, "gradient", wrt="right", inputs={"left": one}, preprocess="unit")(other, target=0)
    np.testing.assert_allclose(turned.raw[0], -0.25)


@pytest.mark.parametrize(
    ("image", "others"),
    [
        ("float[n, 3, 8, 8] image", ["float[n, 1, 8, 8] mask"]),  # inpainting
        ("float[n, 3, 8, 8] src", ["float[n, 16, rh, rw] r1i", "float[1] downsample_ratio"]),  # video matting
        ("float[n, 3, 8, 8] x", ["float[n, 1, 1, 1] level"]),  # denoisers
        ("float[n, 1, 8, 8] slice", ["float[n, 1, 8, 8] noise_level_map"]),
    ],
)
def test_the_image_among_other_grids(image: str, others: list[str]) -> None:
    name = image.split()[-1]
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    net ({", ".join([*others, image])}) => (float[n, c] y) {{ p = GlobalAveragePool({name}) y = Flatten(p) }}
    """)
    found = Opened(model).network
    assert found.picture == name
    assert not any("images" in warning for warning in found.warnings)


def test_unlike_grids_are_no_image() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    decoder (float[1, 256, 16, 16] image_embeddings, float[1, 1, 64, 64] mask_input) => (float[1, 256, 16, 16] y)
    { m = ReduceMean(mask_input) y = Add(image_embeddings, m) }
    """)
    with pytest.raises(ModelError, match=r"no input of the model is an image .* explain the file of that encoder"):
        Opened(model)
