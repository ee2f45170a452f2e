"""The place of a tensor in the image: computed from the graph, compared with where a bright pixel appears in it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from onnxcam.autodiff import STANDARD
from onnxcam.graph.io import load
from onnxcam.passes import canonical
from onnxcam.structure.layout import GridLayout, TokenLayout
from onnxcam.structure.place import Place, place

SIZE = (40, 48)
SPOTS = [(y, x) for y in (17, 20, 25) for x in (18, 22, 29)]


def network(body: str, opset: int = 18, shape: str = "1, 3, 40, 48") -> onnx.ModelProto:
    """Return a network that ends in *y*; ``k3`` sums 3 × 3 pixels, ``k5`` 5 × 5; ``a := [2]`` is a constant."""
    body = re.sub(r":= (\[[^\]]*\])", r"= Constant<value_ints = \1> ()", body)
    kernels = "".join(
        f"k{n} = Constant<value = float[1, 3, {n}, {n}] {{{', '.join(['1.0'] * (3 * n * n))}}}> ()\n" for n in (1, 3, 5)
    )
    ones = f"one3 = Constant<value = float[1, 1, 3, 3] {{{', '.join(['1.0'] * 9)}}}> ()\n"
    text = f'<ir_version: 8, opset_import: ["": {opset}]> main (float[{shape}] x) => (y) {{ {kernels} {ones} {body} }}'
    return onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))


def placed(model: onnx.ModelProto, layout: GridLayout | TokenLayout | None = None, size: Any = SIZE) -> Place:
    graph = canonical(load(model), STANDARD).graph
    found = place(graph, graph.inputs[0], graph.outputs[0], layout or GridLayout(1, (2, 3)), size)
    assert found is not None
    return found


def appears(model: onnx.ModelProto, spot: tuple[int, int]) -> tuple[float, float]:
    """Return (row, column) of the centre of what a bright pixel at *spot* brings about in the output [1, 1, h, w]."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    dark = np.zeros((1, 3, *SIZE), np.float32)
    bright = dark.copy()
    bright[:, :, spot[0], spot[1]] = 1
    one, other = (session.run(None, {"x": x})[0] for x in (bright, dark))
    change = np.abs(one - other)[0].sum(axis=0).reshape(one.shape[-2:])
    assert change.any()
    rows, columns = np.indices(change.shape) + 0.5
    return float((rows * change).sum() / change.sum()), float((columns * change).sum() / change.sum())


CROP = """
s := [8, 12]  e := [36, 44]  a := [2, 3]
p = Slice(x, s, e, a)
"""
MIRROR = """
s := [-1]  e := [-9223372036854775807]
a := [3] t := [-1]
p = Slice(x, s, e, a, t)
"""
SAME = "y = Conv<pads = [1, 1, 1, 1]>(p, k3)"

NETWORKS = {
    "crop": CROP + SAME,
    "crop, strides": CROP + "y = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(p, k3)",
    "crop, odd steps": """
        s := [5, 7]  e := [-2, -3]  a := [-2, -1]
        t := [2, 2]  c = Conv<pads = [1, 1, 1, 1]>(x, k3)  y = Slice(c, s, e, a, t)""",
    "mirror": MIRROR + SAME,
    "mirror, strides": MIRROR + "y = Conv<pads = [1, 1, 1, 1], strides = [4, 4]>(p, k5)",
    "upside down, then a crop": """
        s := [-1]  e := [-1000]  a := [2]
        t := [-1]  q = Slice(x, s, e, a, t)
        b := [10]  c := [40]  p = Slice(q, b, c, a)"""
    + SAME,
    "mirror by Gather": f"""
        i := [{", ".join(map(str, range(47, -1, -1)))}]  p = Gather<axis = 3>(x, i)"""
    + SAME,
    "mirror by ReverseSequence": """
        q = Transpose<perm = [3, 0, 1, 2]>(x)  n := [48]
        r = ReverseSequence<time_axis = 0, batch_axis = 1>(q, n)  p = Transpose<perm = [1, 2, 3, 0]>(r)"""
    + SAME,
    "centre": """
        n := [25, 31]  p = CenterCropPad<axes = [2, 3]>(x, n)"""
    + SAME,
    "centre, padded": """
        n := [61, 31]  p = CenterCropPad<axes = [2, 3]>(x, n)"""
    + SAME,
    "padding at one end": "n := [0, 0, 0, 0, 0, 0, 24, 0]  p = Pad(x, n)" + SAME,
    "padding at the begin": "n := [0, 0, 16, 24, 0, 0, 0, 0]  p = Pad(x, n)"
    + "y = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(p, k3)",
    "negative padding": "n := [0, 0, -6, -9, 0, 0, -4, 2]  p = Pad(x, n)" + SAME,
    "padding by Concat": f"""
        z = Constant<value = float[1, 3, 40, 2] {{{", ".join(["0.0"] * 240)}}}> ()
        q = Concat<axis = 3>(z, z, z, z, z, z, z, x)  p = Relu(q)"""
    + SAME,
    "no padding": "a1 = Conv(x, k5) y = Conv(a1, one3)",
    "no padding, a pool": """
        a1 = Conv(x, k5) a2 = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a1) y = Conv(a2, one3)""",
    "one end of a convolution": "y = Conv<pads = [0, 0, 20, 20], strides = [2, 2]>(x, k3)",
    "transposed": "q = Transpose<perm = [0, 1, 3, 2]>(x)  y = Conv<pads = [1, 1, 1, 1]>(q, k3)",
    "transposed and cropped": """
        q = Transpose<perm = [0, 1, 3, 2]>(x)  s := [12]  e := [40]
        a := [2]  p = Slice(q, s, e, a)"""
    + SAME,
    "channels last": """
        q = Transpose<perm = [0, 2, 3, 1]>(x)  s := [12]  e := [40]
        a := [1]  r = Slice(q, s, e, a)  p = Transpose<perm = [0, 3, 1, 2]>(r)"""
    + SAME,
    "half by Split": """
        n := [14, 26]  q, p = Split<axis = 2>(x, n)"""
    + SAME,
    "crop by Resize": """
        r = Constant<value_floats = [0.0, 0.0, 0.25, 0.2, 1.0, 1.0, 0.95, 0.8]> ()  o := [1, 3, 29, 29]
        p = Resize<coordinate_transformation_mode = "tf_crop_and_resize", mode = "linear">(x, r, , o)"""
    + SAME,
    "resize, then a crop": """
        o := [1, 3, 80, 96]  q = Resize<mode = "linear">(x, , , o)
        s := [10, 20]  e := [70, 76]  a := [2, 3]
        p = Slice(q, s, e, a)"""
    + SAME,
    "crop behind channel shuffle": """
        q = Conv<pads = [1, 1, 1, 1]>(x, k3)  g := [1, 1, 1, 40, 48]  u = Reshape(q, g)
        v = Transpose<perm = [0, 2, 1, 3, 4]>(u)  h := [1, 1, 40, 48]  w = Reshape(v, h)
        s := [8, 12]  e := [36, 44]  a := [2, 3]
        p = Slice(w, s, e, a)  y = Conv<pads = [1, 1, 1, 1]>(p, one3)""",
    "rolled and rolled back": """
        z := [0]  m := [13]  l := [1000]
        a := [3]
        p1 = Slice(x, z, m, a)  p2 = Slice(x, m, l, a)  q = Concat<axis = 3>(p2, p1)
        n := [35]  q1 = Slice(q, z, n, a)  q2 = Slice(q, n, l, a)
        p = Concat<axis = 3>(q2, q1)"""
    + SAME,
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bright_pixel_is_where_the_place_says(name: str) -> None:
    model = network(NETWORKS[name])
    found = placed(model)
    assert found.warning == ""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    lengths = session.run(None, {"x": np.zeros((1, 3, *SIZE), np.float32)})[0].shape[2:]
    for spot in SPOTS:
        at = appears(model, spot)
        for index, span, length in zip(at, found.spans, lengths, strict=True):
            start, end = span.ends
            pixel = start + index * (end - start) / length
            slack = max(1.0, abs(end - start) / length)
            assert abs(pixel - (spot[span.source] + 0.5)) <= slack, (spot, span)


@pytest.mark.parametrize(
    "body",
    [
        SAME.replace("p,", "x,"),
        """
        a1 = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, k3)
        y = MaxPool<kernel_shape = [3, 3], strides = [2, 2]>(a1)""",
        'y = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, k3)',
        'y = Conv<auto_pad = "SAME_LOWER", strides = [4, 4]>(x, k5)',
        "n := [0, 0, 0, 0, 0, 0, 1, 1]  p = Pad(x, n)  y = Conv<strides = [2, 2]>(p, k3)",
        "n := [0, 0, 2, 2, 0, 0, 2, 2]  p = Pad(x, n)  r = Relu(p)  y = Conv(r, k5)",
        "y = MaxPool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>(x)",
        "y = Conv<dilations = [4, 4], pads = [4, 4, 4, 4]>(x, k3)",
        "a1 = Conv<strides = [4, 4]>(x, k3) y = ConvTranspose<strides = [2, 2]>(a1, one3)",
        "y = GlobalAveragePool(x)",
        "y = SpaceToDepth<blocksize = 2>(x)",
        "g = GlobalAveragePool(x)  s = Sigmoid(g)  m = Mul(s, x)  y = Conv<pads = [1, 1, 1, 1]>(m, k3)",
    ],
)  # fmt: skip
def test_usual_networks_cover_the_image_evenly(body: str) -> None:
    assert placed(network(body)).is_plain(SIZE)


def test_tokens_of_a_crop() -> None:
    body = CROP + "c = Conv<strides = [4, 4]>(p, k3)  n := [1, 1, 56]  y = Reshape(c, n)"
    found = placed(network(body), TokenLayout(1, 2, (7, 8)))
    np.testing.assert_allclose(found.intervals, [(8, 36), (12, 44)], atol=1)


def test_an_open_size() -> None:
    model = network(CROP + SAME, shape="1, 3, h, w")
    for size in ((40, 48), (64, 50)):
        assert placed(model, size=size).intervals == [(8, 36), (12, 44)]


SHAPED = """
    s = Shape<start = 2, end = 4>(x)  n := [32, 32]  two := [2]  m = Sub(s, n)  b = Div(m, two)  e = Add(b, n)
    a := [2, 3]  p = Slice(x, b, e, a)
"""


@pytest.mark.parametrize("size", [(40, 48), (64, 50)])
def test_a_crop_of_the_centre_of_an_open_size(size: tuple[int, int]) -> None:
    found = placed(network(SHAPED + SAME, shape="1, 3, h, w"), size=size)
    assert found.warning == ""
    assert found.intervals == [((n - 32) // 2, (n - 32) // 2 + 32) for n in size]


def test_padding_as_the_older_exporter_writes_it() -> None:
    """PyTorch's `pad` is computed from the list of its arguments, backwards."""
    body = """
        l := [0, 1, 0, 1]  c := [4]  z = ConstantOfShape(c)  j = Concat<axis = 0>(l, z)  o := [-1, 2]
        r = Reshape(j, o)  f := [-1]  t := [-9223372036854775807]  d := [0]  u = Slice(r, f, t, d, f)
        v = Transpose<perm = [1, 0]>(u)  i := [-1]  w = Reshape(v, i)  g = Cast<to = 7>(w)  p = Pad(x, g)
        y = Conv<strides = [2, 2]>(p, k3)"""
    assert placed(network(body)).is_plain(SIZE)
    assert placed(network(body, shape="1, 3, h, w"), size=(64, 50)).is_plain((64, 50))


COMPUTED = {
    "GridSample": "g = Constant<value = float[1, 1, 2, 2] {0.0, 0.0, 0.5, 0.5}> ()  q = GridSample(x, g)  y = Relu(q)",
    "a mirrored half": MIRROR + "y = Add(x, p)",
    "a crop beside the whole": CROP + "o := [1, 3, 40, 48]  q = Resize(p, , , o)  y = Concat<axis = 1>(q, x)",
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_cannot_be_followed_is_told(name: str) -> None:
    warning = placed(network(COMPUTED[name])).warning
    assert warning
    assert any(word in warning for word in ("crop", "mirror", "pad"))


def test_a_computed_crop_is_told() -> None:
    body = """
        m = ReduceMax<keepdims = 0>(x)  o := [1]  i = Cast<to = 7>(m)  s = Reshape(i, o)
        e := [40]  a := [2]  y = Slice(x, s, e, a)"""
    assert "it crops or mirrors the image by numbers that it computes (Slice" in placed(network(body)).warning


def test_upright_turns_and_transposes() -> None:
    cells = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = placed(network(MIRROR + "q = Transpose<perm = [0, 1, 3, 2]>(p)  y = Conv<pads = [1, 1, 1, 1]>(q, k3)"))
    np.testing.assert_array_equal(found.upright(cells), cells[::-1].T)


def test_no_place_without_an_image() -> None:
    graph = canonical(load(network("y = Relu(x)")), STANDARD).graph
    other = ir.Value(name="other")
    assert place(graph, graph.inputs[0], other, GridLayout(1, (2, 3)), SIZE) is None
    assert place(graph, graph.inputs[0], graph.outputs[0], GridLayout(1, (2, 3)), (1, 2, 3)) is None
