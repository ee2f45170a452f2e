"""Maps of networks that crop, pad or mirror their input, in images and volumes of any size."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.media.heatmap import peak
from onnxcam.targets.kinds import ClassRegion


def network(before: str, shape: str = "N, 3, H, W", kernel: str = "1, 3, 3, 3") -> bytes:
    """Return a classifier whose class 0 is "bright somewhere" in *p*, which *before* makes of the input *x*."""
    ones = ", ".join(["0.1"] * int(np.prod([int(n) for n in kernel.split(",")])))
    pads = ", ".join(["1"] * 2 * (kernel.count(",") - 1))
    text = f"""
        <ir_version: 8, opset_import: ["": 20]> main (float[{shape}] x) => (float[N, 2] y)
        <float[2, 1] f = {{1.0, -1.0}}> {{
            k = Constant<value = float[{kernel}] {{{ones}}}> ()
            {before}
            c = Conv<pads = [{pads}]>(p, k)  a = Relu(c)  g = GlobalMaxPool(a)  v = Flatten(g)
            y = Gemm<transB = 1>(v, f)
        }}"""
    text = re.sub(r":= (\[[^\]]*\])", r"= Constant<value_ints = \1> ()", text)
    return onnx.parser.parse_model(text).SerializeToString()


def spot(x: int, y: int, size: tuple[int, int]) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image


CROP = "s := [8, 16]  e := [-8, -4]  d := [2, 3]  p = Slice(x, s, e, d)"
MIRROR = "s := [-1]  e := [-9223372036854775807]  d := [3]  t := [-1]  p = Slice(x, s, e, d, t)"


@pytest.mark.parametrize("before", [CROP, MIRROR, "n := [40, 100]  p = CenterCropPad<axes = [2, 3]>(x, n)"])
@pytest.mark.parametrize("method", ["gradcam", "layercam", "scorecam"])
def test_open_sizes(before: str, method: str) -> None:
    explainer = Explainer(network(before), method, preprocess="unit,resize=none")
    for size in ((64, 64), (60, 90), (64, 64)):
        found = explainer(spot(30, 28, size), target=0)
        x, y = peak(found.map)
        assert abs(x - 30) <= 2
        assert abs(y - 28) <= 2
        assert found.warnings == ()


def test_what_the_network_does_not_see_is_zero() -> None:
    found = Explainer(network(CROP), preprocess="unit,resize=none")(spot(30, 28, (64, 64)), target=0)
    found.map[8:56, 16:60] = 0
    assert not found.map.any()


def test_the_crop_of_the_preprocessing_and_that_of_the_network() -> None:
    explainer = Explainer(network(CROP, "N, 3, 64, 64"), preprocess="unit,resize=80,crop=64")
    x, y = peak(explainer(spot(45, 35, (90, 80)), target=0).map)
    assert abs(x - 45) <= 2
    assert abs(y - 35) <= 2


def test_a_map_whose_place_is_lost_has_a_warning() -> None:
    before = """
        s := [1, 3, 64, 64]  h = Constant<value = float[1, 2, 3] {0.5, 0.0, 0.4, 0.0, 0.5, 0.4}> ()
        grid = AffineGrid(h, s)  q = GridSample(x, grid)  p = Max(x, q)"""
    found = Explainer(network(before, "1, 3, 64, 64"), preprocess="unit")(spot(30, 28, (64, 64)), target=0)
    (warning,) = [warning for warning in found.warnings if "may lie at another place" in warning]
    assert "it crops or warps the image at places that it computes (GridSample" in warning
    gradient = Explainer(network(before, "1, 3, 64, 64"), "gradient", preprocess="unit")
    assert gradient(spot(30, 28, (64, 64)), target=0).warnings == ()


@pytest.mark.parametrize("method", ["guided-gradcam", "fullgrad"])
def test_a_method_that_mixes_layers_and_input_has_a_warning(method: str) -> None:
    explainer = Explainer(network(CROP), method, preprocess="unit,resize=none")
    warnings = explainer(spot(30, 28, (64, 64)), target=0).warnings
    assert any(f"{method} enlarges layers to the whole input, which it crops" in text for text in warnings)
    whole = Explainer(network("p = Relu(x)"), method, preprocess="unit,resize=none")
    assert not any("enlarges" in text for text in whole(spot(30, 28, (64, 64)), target=0).warnings)


def test_volumes() -> None:
    before = """
        s := [4, 6, -1]  e := [20, 24, -9223372036854775807]  d := [2, 3, 4]  t := [1, 1, -1]
        p = Slice(x, s, e, d, t)"""
    explainer = Explainer(network(before, "1, 1, 24, 24, 24", "1, 1, 3, 3, 3"), preprocess="raw")
    volume = np.zeros((24, 24, 24), np.float32)
    volume[8:11, 12:15, 4:7] = 1
    found = explainer(volume, target=0)
    at = np.unravel_index(int(found.map.argmax()), found.map.shape)
    np.testing.assert_allclose(at, (9, 13, 5), atol=1)
    assert not found.map[:4].any()


def test_a_baked_map_that_lies_elsewhere_is_told(tmp_path: Path) -> None:
    made = bake(network(CROP, "1, 3, 64, 64"), tmp_path / "baked.onnx", preprocess="unit")
    assert any("covers a part of the input" in warning for warning in made.warnings)
    made = bake(network("p = Relu(x)", "1, 3, 64, 64"), tmp_path / "whole.onnx", preprocess="unit")
    assert made.warnings == ()


def segmentation(before: str) -> bytes:
    """Return a segmentation of *p*: class 1 where it is bright."""
    text = f"""
        <ir_version: 8, opset_import: ["": 20]> main (float[1, 3, 64, 64] x) => (float[1, 2, h, w] y) {{
            k = Constant<value = float[2, 3, 1, 1] {{0.0, 0.0, 0.0, 1.0, 1.0, 1.0}}> ()
            {before}
            a = Relu(p)  y = Conv(a, k)
        }}"""
    text = re.sub(r":= (\[[^\]]*\])", r"= Constant<value_ints = \1> ()", text)
    return onnx.parser.parse_model(text).SerializeToString()


@pytest.mark.parametrize("before", [CROP, MIRROR, "q = Transpose<perm = [0, 1, 3, 2]>(x)  p = Relu(q)"])
def test_a_mask_names_the_cells_that_show_its_part_of_the_image(before: str) -> None:
    explainer = Explainer(segmentation(before), "gradient", preprocess="unit", task="segmentation")
    mask = np.zeros((64, 64), np.uint8)
    mask[26:31, 28:33] = 255
    found = explainer(spot(30, 28, (64, 64)), target=ClassRegion(1, mask))
    rows, columns = np.nonzero(found.map)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (26, 30, 28, 32)
