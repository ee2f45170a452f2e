"""What a preprocessing does to pixels, how it is spelt, and where it comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcam import preprocess as pre
from onnxcam.errors import PreprocessError
from onnxcam.media.frame import Frame
from onnxcam.preprocess import Preprocess, TensorSpec, parse, parser, resolve

F32 = np.dtype(np.float32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resolved(*args: Any, **options: Any) -> tuple[Preprocess, list[str]]:
    """Return the preprocessing and the warnings of `resolve`."""
    found = resolve(*args, **options)
    return found.preprocess, list(found.warnings)


def spec(*shape: int | str | None, dtype: Any = F32) -> TensorSpec:
    return TensorSpec.make("x", np.dtype(dtype), shape)


FIXED = spec(1, 3, 224, 224)
OPEN = spec("N", 3, None, "W")
NHWC = spec(None, 96, 96, 3)
GREY = spec(1, 1, 28, 28)


def plain(height: int, width: int, rgb: tuple[int, int, int] = (10, 20, 200)) -> np.ndarray:
    return np.full((height, width, 3), rgb, np.uint8)


# ---------------------------------------------------------------------------------------------------------
# The model's input


@pytest.mark.parametrize(
    ("shape", "layout", "channels", "size"),
    [
        ((1, 3, 224, 224), "nchw", 3, (224, 224)),
        ((None, 96, 96, 3), "nhwc", 3, (96, 96)),
        ((1, 96, 96, 1), "nhwc", 1, (96, 96)),
        (("N", 1, "H", "W"), "nchw", 1, (None, None)),
        (("N", "H", "W", 3), "nhwc", 3, (None, None)),
        (("N", "C", "H", "W"), "nchw", 3, (None, None)),
        (("N", 224, 224, None), "nhwc", 3, (224, 224)),
        (("N", None, 224, 224), "nchw", 3, (224, 224)),
        ((1, 3, 48, None), "nchw", 3, (48, None)),
        ((1, 1, 1, 3), "nhwc", 3, (1, 1)),
        ((-1, 3, -1, 0), "nchw", 3, (None, None)),
    ],
)
def test_layout(shape: tuple[Any, ...], layout: str, channels: int, size: tuple[Any, Any]) -> None:
    found = spec(*shape)
    assert (found.layout, found.channels, found.size) == (layout, channels, size)


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_a_picture_has_one_or_three_channels(channels: int) -> None:
    with pytest.raises(PreprocessError, match=rf"input 'x' 1x{channels}x224x224 has {channels} channels in nchw"):
        parse("unit", spec(1, channels, 224, 224))


def test_inputs_for_no_picture() -> None:
    with pytest.raises(PreprocessError, match=r"input 'x' Nx\?x8 is no image, which has 4 dims; pass a tensor"):
        spec("N", None, 8)
    with pytest.raises(PreprocessError, match="input 'x' takes bool elements, an image has numbers; pass a tensor"):
        spec(1, 3, 8, 8, dtype=bool)
    for value in (ir.Value(name="x"), ir.Value(name="x", shape=ir.Shape([1, 3, 8, 8]))):
        with pytest.raises(PreprocessError, match="input 'x' states no shape and type; pass a tensor"):
            TensorSpec.of(value)
    strings = ir.Value(name="x", shape=ir.Shape([1, 3, 8, 8]), type=ir.TensorType(ir.DataType.STRING))
    with pytest.raises(PreprocessError, match=r"input 'x' takes .* elements"):
        TensorSpec.of(strings)


def test_the_bytes_of_an_encoded_image() -> None:
    value = ir.Value(name="x", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.UINT8))
    with pytest.raises(PreprocessError, match="input 'x' n is no image"):
        TensorSpec.of(value)
    ir.Node("com.microsoft.extensions", "DecodeImage", [value])
    with pytest.raises(PreprocessError, match=r"'x' takes the bytes of an encoded image, .*::DecodeImage .*extract_m"):
        TensorSpec.of(value)


def test_a_graph_input_and_what_its_first_node_says() -> None:
    value = graph_input("N", "A", "B", "C")
    assert TensorSpec.of(value) == TensorSpec("x", F32, ("N", "A", "B", "C"), "nchw")
    ir.node("Transpose", [value], attributes={"perm": [0, 3, 1, 2]})
    assert TensorSpec.of(value).layout == "nhwc"


# ---------------------------------------------------------------------------------------------------------
# Pixels


def test_mean_and_std_by_hand() -> None:
    tensor = parse("imagenet", FIXED)(plain(300, 400))
    assert (tensor.shape, tensor.dtype, tensor.flags.c_contiguous) == ((1, 3, 224, 224), F32, True)
    expected = [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (200 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(tensor[0, :, 111, 5], expected, rtol=1e-6)
    np.testing.assert_allclose(tensor.min((0, 2, 3)), tensor.max((0, 2, 3)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unit", [10 / 255, 20 / 255, 200 / 255]),
        ("raw", [10, 20, 200]),
        ("caffe", [200 - 104, 20 - 117, 10 - 123]),
        ("inception", [10 / 127.5 - 1, 20 / 127.5 - 1, 200 / 127.5 - 1]),
        ("tf", [10 / 127.5 - 1, 20 / 127.5 - 1, 200 / 127.5 - 1]),
        ("yolo", [10 / 255, 20 / 255, 200 / 255]),
        (
            "clip,mean=0.5/0.4/0.3,std=0.2/0.1/0.4",
            [(10 / 255 - 0.5) / 0.2, (20 / 255 - 0.4) / 0.1, (200 / 255 - 0.3) / 0.4],
        ),
        ("range=-1-1", [10 / 127.5 - 1, 20 / 127.5 - 1, 200 / 127.5 - 1]),
        ("raw,mean=127,std=128,order=bgr", [73 / 128, -107 / 128, -117 / 128]),
    ],
)
def test_values(text: str, expected: list[float]) -> None:
    np.testing.assert_allclose(parse(text, FIXED)(plain(50, 50))[0, :, 112, 112], expected, atol=1e-3)


def test_layout_and_dtype_are_the_model_s() -> None:
    tensor = parse("raw", spec(None, 8, 8, 3, dtype=np.float16))(plain(4, 4))
    assert (tensor.shape, tensor.dtype) == ((1, 8, 8, 3), np.float16)
    assert tensor[0, 0, 0].tolist() == [10, 20, 200]


@pytest.mark.parametrize(("dtype", "expected"), [("uint8", [10, 200]), ("int8", [-118, 72]), ("int32", [10, 200])])
def test_integer_models_take_raw_values(dtype: str, expected: list[int]) -> None:
    tensor = parse("order=rgb", spec(1, 8, 8, 3, dtype=dtype))(plain(20, 30))
    assert tensor.dtype == dtype
    assert tensor[0, 3, 3, ::2].tolist() == expected


def test_grey_is_luma() -> None:
    tensor = parse("raw", GREY)(plain(28, 28, (100, 0, 0)))
    assert tensor.shape == (1, 1, 28, 28)
    assert tensor.max() == 30  # 0.299 · 100


def ramp(height: int, width: int) -> np.ndarray:
    """Red says the row, green the column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)


def test_crop_takes_the_centre() -> None:
    tensor = parse("raw,crop=4x6")(ramp(20, 30))
    assert tensor[0, 0, :, 0].tolist() == [8, 9, 10, 11]
    assert tensor[0, 1, 0].tolist() == [12, 13, 14, 15, 16, 17]


def test_a_crop_larger_than_the_picture_is_padded_with_black() -> None:
    tensor = parse("raw,crop=4")(plain(2, 2, (9, 9, 9)))
    assert tensor[0, 0].tolist() == [[0, 0, 0, 0], [0, 9, 9, 0], [0, 9, 9, 0], [0, 0, 0, 0]]


def test_letterbox_pads_with_grey() -> None:
    tensor = parse("raw,letterbox=8")(plain(5, 10, (9, 9, 9)))
    assert tensor[0, 0, :, 3].tolist() == [114, 114, 9, 9, 9, 9, 114, 114]


def test_own_size_and_short_side() -> None:
    assert parse("resize=none")(plain(50, 71)).shape == (1, 3, 50, 71)
    assert parse("resize=25")(plain(50, 71)).shape == (1, 3, 25, 35)
    assert parse("resize=25")(plain(71, 50)).shape == (1, 3, 35, 25)
    assert parse("resize=1")(plain(1, 9)).shape == (1, 3, 1, 9)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "area"])
def test_interpolations(interpolation: str) -> None:
    checks = np.kron(np.indices((8, 8)).sum(0) % 2 * 200, np.ones((1, 1), int))
    image = np.repeat(checks[..., None], 3, 2).astype(np.uint8)
    small = parse(f"raw,resize=4x4,interpolation={interpolation}")(image)[0, 0]
    assert set(small.ravel()) <= ({0, 200} if interpolation == "nearest" else {100})  # shrinking is antialiased
    wide = parse(f"raw,resize=4x16,interpolation={interpolation}")(image)[0, 0]  # one axis shrinks, one grows
    assert wide.shape == (4, 16)
    assert interpolation == "nearest" or set(wide.ravel()) == {100}


def test_stack() -> None:
    a, b = np.zeros((1, 3, 2, 2)), np.zeros((1, 3, 2, 3))
    assert pre.stack([a, a]).shape == (2, 3, 2, 2)
    with pytest.raises(PreprocessError, match=r"tensors of 2 shapes .*; add crop=HxW to the preprocessing, or pass"):
        pre.stack([a, b])


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("dtype", "units"), [(np.float32, None), (np.float16, None), (np.int8, (0.0186, -14))])
def test_each_pixel_has_the_value_of_its_level_to_the_last_bit(layout: Any, dtype: Any, units: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    made = Preprocess(mean=MEAN, std=STD, order="bgr", layout=layout, dtype=np.dtype(dtype), units=units)(image)
    values = (image[..., ::-1] * (1 / 255) - np.array(MEAN)) / np.array(STD)
    if units is not None:
        values = np.clip(np.rint(values / units[0]) + units[1], -128, 127)
    expected = values.astype(dtype).transpose((2, 0, 1) if layout == "nchw" else (0, 1, 2))[None]
    assert made.dtype == dtype
    assert made.flags.c_contiguous
    assert np.array_equal(made, expected)


# ---------------------------------------------------------------------------------------------------------
# Frames


@pytest.mark.parametrize(
    ("text", "height", "width", "frame"),
    [
        ("resize=100x50", 30, 40, (0, 0, 40, 30)),
        ("resize=none", 30, 40, (0, 0, 40, 30)),
        ("crop=10x20", 30, 40, (10, 10, 30, 20)),
        ("crop=50", 30, 40, (-5, -10, 45, 40)),
        ("resize=256,crop=224", 512, 1024, (1024 / 2 - 224, 32, 1024 / 2 + 224, 512 - 32)),
        ("letterbox=640", 320, 640, (0, -160, 640, 480)),
        ("letterbox=320", 1280, 640, (-320, 0, 960, 1280)),
        ("letterbox=8", 5, 8, (0, -1, 8, 7)),  # the odd row of padding is at the bottom
    ],
)
def test_frames(text: str, height: int, width: int, frame: tuple[float, ...]) -> None:
    found = parse(text).frame(height, width)
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx(frame)


@given(
    st.sampled_from(["unit", "imagenet", "yolo", "resize=40", "resize=90,crop=50x70", "crop=33"]),
    st.integers(1, 200),
    st.integers(1, 200),
)
def test_the_frame_has_the_tensor_s_pixels(text: str, height: int, width: int) -> None:
    """One pixel of the tensor is the same share of the frame, wherever it is; nothing degenerates."""
    how = parse(text, spec(1, 3, "H", "W"))
    frame, (rows, columns) = how.frame(height, width), how(plain(height, width)).shape[2:]
    assert frame.x1 > frame.x0
    assert frame.y1 > frame.y0
    assert abs((frame.x0 + frame.x1 - width) / (frame.x1 - frame.x0)) * columns <= 1.001  # centred to half a pixel
    assert abs((frame.y0 + frame.y1 - height) / (frame.y1 - frame.y0)) * rows <= 1.001


def test_a_frame_finds_a_pixel_again() -> None:
    image = plain(301, 203, (0, 0, 0))
    image[140:160, 60:80] = 255
    for text in ("resize=128,crop=96", "letterbox=96", "resize=96x64"):
        how = parse(text)
        frame, bright = how.frame(301, 203), how(image)[0, 0]
        at = (np.argwhere(bright > 0.5) + 0.5).mean(0) / bright.shape
        assert frame.y0 + at[0] * (frame.y1 - frame.y0) == pytest.approx(150, abs=2.5)
        assert frame.x0 + at[1] * (frame.x1 - frame.x0) == pytest.approx(70, abs=2.5)


def test_a_letterbox_in_the_corner() -> None:
    how = parse("raw,letterbox=20,anchor=corner,fill=7")
    tensor = how(plain(10, 40, (200, 200, 200)))[0, 0]
    assert (tensor[:5] == 200).all()
    assert (tensor[5:] == 7).all()
    assert how.frame(10, 40) == Frame(0, 0, 40, 40)


def test_the_long_side_has_a_limit() -> None:
    how = parse("raw,resize=80,longest=120")
    assert how(plain(40, 50)).shape[2:] == (80, 100)
    assert how(plain(40, 80)).shape[2:] == (60, 120)


def test_a_crop_beyond_the_picture_is_filled() -> None:
    tensor = parse("raw,resize=none,crop=6,fill=9")(plain(2, 6, (1, 1, 1)))[0, 0]
    assert (tensor[:, 0] == [9, 9, 1, 1, 9, 9]).all()


# ---------------------------------------------------------------------------------------------------------
# Spelling

sizes = st.tuples(st.integers(1, 4096), st.integers(1, 4096))
numbers = st.floats(-1e4, 1e4).map(float)
triples = st.one_of(st.tuples(numbers), st.tuples(numbers, numbers, numbers))


@st.composite
def preprocesses(draw: st.DrawFn) -> Preprocess:
    box = draw(st.none() | sizes)
    resize, crop = (None, None) if box else (draw(st.none() | st.integers(1, 4096) | sizes), draw(st.none() | sizes))
    low, high = sorted(draw(st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1])))
    return Preprocess(
        resize=resize,
        crop=crop,
        letterbox=box,
        range=(low, high),
        mean=draw(triples),
        std=draw(triples.filter(lambda values: all(abs(value) > 1e-9 for value in values))),
        order=draw(st.sampled_from(["rgb", "bgr"])),
        layout=draw(st.sampled_from(["nchw", "nhwc"])),
        longest=draw(st.none() | st.integers(1, 4096)),
        fill=draw(st.none() | st.integers(0, 255)),
        anchor=draw(st.sampled_from(["centre", "corner"])),
        interpolation=draw(st.sampled_from(["bilinear", "bicubic", "nearest", "area"])),
    )


@given(preprocesses())
def test_the_spelling_parses_back(preprocess: Preprocess) -> None:
    assert parse(str(preprocess), spec("N", "A", "B", "C")) == preprocess


@pytest.mark.parametrize("tensor", [FIXED, OPEN, NHWC, spec(1, 3, 48, "W"), spec(1, 240, 320, 3)])
@pytest.mark.parametrize("name", pre.PRESETS)
def test_presets_fit_every_colour_model_and_parse_back(name: str, tensor: TensorSpec) -> None:
    preprocess = parse(name, tensor)
    assert parse(str(preprocess), tensor) == preprocess
    assert parse(parser.preset_of(str(preprocess)), tensor) == preprocess
    assert parser.preset_of(str(replace(preprocess, fill=7))) == ""
    shape = preprocess(plain(100, 150)).shape
    assert all(not isinstance(want, int) or want == have for want, have in zip(tensor.shape, shape, strict=True))
    assert resolved(preprocess, tensor) == (preprocess, [])


@pytest.mark.parametrize(
    ("text", "tensor", "spelt"),
    [
        ("imagenet", FIXED, "resize=256,crop=224x224,range=0-1,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"),
        ("Imagenet , CROP=1", None, None),
        ("imagenet,crop=299", OPEN, "resize=341,crop=299x299,"),
        ("imagenet,resize=232", FIXED, "resize=232,crop=224x224,"),
        ("imagenet,resize=232", OPEN, "resize=232,crop=224x224,"),
        ("imagenet,resize=480x640", OPEN, "resize=480x640,range"),
        ("imagenet,letterbox=640", OPEN, "letterbox=640x640,range=0-1,mean=0.485"),
        ("imagenet", spec(1, 3, 240, 320), "resize=240x320,range"),
        ("yolo,resize=256", FIXED, "resize=256,crop=224x224,range"),
        ("resize=256", FIXED, "resize=256,crop=224x224,range=0-1,order=rgb,layout=nchw"),
        ("resize=256", OPEN, "resize=256,range"),
        ("mean=0.5", OPEN, "resize=224x224,range=0-1,mean=0.5,std=1,"),
        ("unit", GREY, "resize=28x28,range=0-1,order=gray,layout=nchw"),
        ("clip", NHWC, "resize=96,crop=96x96,"),
        ("imagenet,layout=nhwc", spec("N", "A", "B", "C"), "resize=256,crop=224x224,"),
        ("raw,range=-1.5--5e-1", FIXED, "resize=224x224,range=-1.5--0.5,order=rgb,layout=nchw"),
    ],
)
def test_sizes_come_from_the_model(text: str, tensor: TensorSpec | None, spelt: str | None) -> None:
    if tensor is None or spelt is None:
        with pytest.raises(PreprocessError, match="key 'CROP' is unknown"):
            parse(text)
    else:
        assert str(parse(text, tensor)).startswith(spelt)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "imagent",
            "preprocess 'imagent' is no preset (imagenet, inception, tf, caffe, clip, unit, raw, yolo)",
        ),
        ("imagent", "Did you mean 'imagenet'"),
        ("", "preprocess '' is no preset"),
        ("resize", "Did you mean 'resize'"),
        (
            "resiz=3",
            "preprocess key 'resiz' is unknown; the keys are resize, crop, letterbox, longest, fill, anchor,",
        ),
        ("resiz=3", "Did you mean 'resize'?"),
        ("unit,", "preprocess key '' is unknown"),
        ("crop=3,unit", "preprocess preset 'unit' must come first, before the key=value pairs; put it there"),
        ("crop=3,crop=4", "preprocess key 'crop' is given twice; keep one"),
        (
            "crop=0",
            "preprocess crop=0 does not parse; crop takes a number of pixels such as 224, or HEIGHTxWIDTH",
        ),
        ("resize=3x", "preprocess resize=3x does not parse"),
        ("letterbox=-3", "preprocess letterbox=-3 does not parse"),
        ("crop=1234567", "preprocess crop=1234567 does not parse"),
        (
            "mean=a/b",
            "preprocess mean=a/b does not parse; mean takes one number, or one a channel such as 0.485/",
        ),
        ("mean=nan", "preprocess mean=nan does not parse"),
        ("std=1/0/1", "preprocess std=1/0/1 does not parse; std takes numbers other than 0, it divides"),
        (
            "range=1-0",
            "preprocess range=1-0 does not parse; range takes LOW-HIGH with LOW below HIGH, such as 0-1",
        ),
        ("range=255", "preprocess range=255 does not parse"),
        ("order=rbg", "preprocess order=rbg does not parse; order takes rgb, bgr, gray. Did you mean 'rgb'"),
        ("layout=chw", "preprocess layout=chw does not parse; layout takes nchw, nhwc. Did you mean 'nchw'"),
        (
            "interpolation=cubic",
            "interpolation takes bilinear, bicubic, nearest, area. Did you mean 'bicubic'",
        ),
        (
            "crop=3,letterbox=4",
            "preprocess states letterbox= together with resize= or crop=; keep one of the two",
        ),
        (
            "crop=256",
            "preprocess makes 256x256 pixels, input 'x' 1x3x224x224 takes 224x224; state crop=224x224, or",
        ),
        (
            "resize=256x256",
            "preprocess makes 256x256 pixels, input 'x' 1x3x224x224 takes 224x224; state crop=224x224",
        ),
        (
            "resize=none",
            "preprocess makes ?x? pixels, input 'x' 1x3x224x224 takes 224x224; state crop=224x224, or",
        ),
        (
            "order=gray",
            "preprocess order=gray makes 1 channels, input 'x' 1x3x224x224 takes 3; use order=rgb or bgr",
        ),
        ("mean=1/2", "preprocess mean has 2 numbers, input 'x' 1x3x224x224 has 3 channels; give 1 or 3"),
        (
            "layout=nhwc",
            "input 'x' 1x3x224x224 has 224 channels in nhwc layout, an image has 3 or 1; correct layout=",
        ),
    ],
)
def test_what_does_not_parse_or_fit(text: str, said: str) -> None:
    with pytest.raises(PreprocessError) as caught:
        parse(text, FIXED)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_grey_and_integer_models() -> None:
    with pytest.raises(PreprocessError, match=r"mean has 3 numbers, input 'x' 1x1x28x28 has 1 channel; give 1$"):
        parse("imagenet", GREY)
    with pytest.raises(PreprocessError, match=r"order=rgb makes 3 channels, input 'x' .* takes 1; use order=gray"):
        parse("unit,order=rgb", GREY)
    with pytest.raises(PreprocessError, match="range, mean and std do not apply: input 'x' is uint8 and takes the raw"):
        parse("imagenet", spec(1, 224, 224, 3, dtype=np.uint8))


def test_the_page_for_users() -> None:
    page = (Path(__file__).parents[2] / "docs" / "preprocess.md").read_text("utf-8")
    stated = [line.split("--preprocess ")[1].split()[0] for line in page.splitlines() if "--preprocess " in line]
    assert len(stated) >= 5
    for text in stated:
        parse(text)
    table = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(table) == sorted([*pre.PRESETS, *parser._KEYS])


# ---------------------------------------------------------------------------------------------------------
# Sources

RESNET = {
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "ViTFeatureExtractor",
    "image_mean": list(MEAN),
    "image_std": list(STD),
    "resample": 3,
    "size": 224,
}


def found(config: Any, tensor: TensorSpec, tmp_path: Path, name: str = "preprocessor_config.json") -> Preprocess:
    """What is made of *config* lying one folder above the model; there must be no warning."""
    (tmp_path / name).write_text(json.dumps(config))
    preprocess, warnings = resolved(None, tensor, path=tmp_path / "onnx" / "model.onnx")
    assert warnings == []
    return preprocess


def image_processor(kind: str, **config: Any) -> dict[str, Any]:
    return {
        "image_processor_type": kind,
        "do_resize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    } | config


@pytest.mark.parametrize(
    ("config", "tensor", "geometry"),
    [
        (image_processor("ViTImageProcessor", size=224), OPEN, "resize=224x224,"),
        (image_processor("ViTImageProcessor", size={"height": 224, "width": 200}), OPEN, "resize=224x200,"),
        (
            image_processor("CLIPImageProcessor", size=256, do_center_crop=True, crop_size=224),
            FIXED,
            "resize=256,crop=224x224,",
        ),
        (
            image_processor(
                "CLIPImageProcessor",
                size={"shortest_edge": 240},
                do_center_crop=True,
                crop_size={"height": 224, "width": 224},
            ),
            OPEN,
            "resize=240,crop=224x224,",
        ),
        (
            image_processor("DeiTImageProcessor", size=256, do_center_crop=True, crop_size=224),
            FIXED,
            "resize=256x256,crop=224x224,",
        ),
        (
            image_processor("CLIPImageProcessor", size={"shortest_edge": 9}, do_center_crop=True),
            OPEN,
            "resize=9,crop=9x9",
        ),
        (
            image_processor("ConvNextImageProcessor", size={"shortest_edge": 224}),
            FIXED,
            "resize=256,crop=224x224,",
        ),
        (
            image_processor("ConvNextFeatureExtractor", size=224, crop_pct=0.95),
            FIXED,
            "resize=235,crop=224x224,",
        ),
        (
            image_processor("ConvNextImageProcessor", size={"shortest_edge": 384}),
            OPEN,
            "resize=384x384,crop=384x384,",
        ),
        (
            image_processor("PoolFormerImageProcessor", size=224, crop_pct=0.9, do_center_crop=True, crop_size=224),
            OPEN,
            "resize=248,crop=224x224,",
        ),
        (
            image_processor("LevitImageProcessor", size={"shortest_edge": 224}, do_center_crop=True, crop_size=224),
            OPEN,
            "resize=256,crop=224x224,",
        ),
        (
            image_processor("DetrImageProcessor", size={"shortest_edge": 800, "longest_edge": 1333}),
            OPEN,
            "resize=800,longest=1333,range",
        ),
        (image_processor("DetrImageProcessor", size={"shortest_edge": 800}), FIXED, "resize=224x224,range"),
        (image_processor("DetrFeatureExtractor", size=800, max_size=1333), OPEN, "resize=800,longest=1333,range"),
        (image_processor("RTDetrImageProcessor", size={"height": 640, "width": 640}), OPEN, "resize=640x640,range"),
        (image_processor("SegformerFeatureExtractor", size=512), OPEN, "resize=512x512,range"),
        (image_processor("PerceiverImageProcessor", size=224, crop_size=256), OPEN, "resize=256,crop=224x224,"),
        (
            image_processor("PoolFormerImageProcessor", size={"height": 224, "width": 224}, crop_pct=0.9, crop_size=224)
            | {"do_center_crop": True},
            OPEN,
            "resize=248,crop=224x224,",
        ),
        (
            image_processor("Owlv2ImageProcessor", size={"height": 960, "width": 960}, do_pad=True),
            OPEN,
            "letterbox=960x960,fill=0,anchor=corner,",
        ),
        (image_processor("DonutFeatureExtractor", size=[1920, 2560]), OPEN, "letterbox=2560x1920,fill=0,"),
        (
            image_processor("SamImageProcessor", size={"longest_edge": 1024}, pad_size={"height": 1024, "width": 1024}),
            OPEN,
            "letterbox=1024x1024,fill=128,anchor=corner,",
        ),
        (image_processor("Swin2SRImageProcessor", do_resize=False), OPEN, "resize=none,"),
        (image_processor("Swin2SRImageProcessor", do_resize=False), FIXED, "resize=224x224,"),
    ],
)
def test_hugging_face_sizes(config: Any, tensor: TensorSpec, geometry: str, tmp_path: Path) -> None:
    assert str(found(config, tensor, tmp_path)).startswith(geometry)


def test_hugging_face_values(tmp_path: Path) -> None:
    expected = Preprocess(resize=(224, 224), mean=MEAN, std=STD, interpolation="bicubic")
    assert found(RESNET, FIXED, tmp_path) == expected
    assert found(RESNET | {"rescale_factor": 0.00392156862745098}, FIXED, tmp_path) == expected
    assert found({"image_processor": RESNET}, FIXED, tmp_path, "processor_config.json") == expected
    assert found(RESNET | {"do_rescale": False}, FIXED, tmp_path).range == (0, 255)
    shifted = found(RESNET | {"rescale_factor": 1 / 127.5, "rescale_offset": True}, FIXED, tmp_path)
    assert shifted.range == (-1, 1)
    bare = found(RESNET | {"do_normalize": False, "do_flip_channel_order": True, "resample": 0}, FIXED, tmp_path)
    assert (bare.mean, bare.order, bare.interpolation) == ((0,), "bgr", "nearest")


def test_hugging_face_divides_twice_for_efficientnet(tmp_path: Path) -> None:
    config = image_processor(
        "EfficientNetImageProcessor", size={"height": 224, "width": 224}, image_std=[0.5, 0.4, 0.2]
    )
    twice = found(config, FIXED, tmp_path)
    np.testing.assert_allclose(twice.std, (0.25, 0.16, 0.04))
    assert (twice.mean, twice.interpolation) == ((0.5, 0.5, 0.5), "nearest")
    assert found(config | {"include_top": False}, FIXED, tmp_path).std == (0.5, 0.4, 0.2)
    once = found(config | {"do_normalize": False}, FIXED, tmp_path)
    assert (once.mean, once.std) == ((0,), (0.5, 0.4, 0.2))


@pytest.mark.parametrize(("kind", "flips"), [("MobileViTImageProcessor", True), ("MobileNetV2ImageProcessor", False)])
def test_hugging_face_flips_channels(kind: str, flips: bool, tmp_path: Path) -> None:
    config = {"image_processor_type": kind, "do_resize": True, "size": 224}
    assert found(config, FIXED, tmp_path).order == ("bgr" if flips else "rgb")
    assert found(config | {"do_flip_channel_order": not flips}, FIXED, tmp_path).order == ("rgb" if flips else "bgr")


def test_hugging_face_without_a_mean(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_resize": True, "do_normalize": True}))
    assert "it normalises, but states no image_mean" in resolved(None, FIXED, path=tmp_path / "model.onnx")[1][0]


def test_hugging_face_beside_an_integer_model(tmp_path: Path) -> None:
    preprocess = found(RESNET, spec(1, 3, 224, 224, dtype=np.uint8), tmp_path)
    assert (preprocess.resize, preprocess.range, preprocess.mean) == ((224, 224), (0, 255), (0,))


TIMM = {
    "input_size": [3, 288, 288],
    "crop_pct": 0.95,
    "interpolation": "bicubic",
    "mean": list(MEAN),
    "std": list(STD),
}


@pytest.mark.parametrize(
    ("config", "tensor", "geometry"),
    [
        (TIMM, OPEN, "resize=303,crop=288x288,"),
        (TIMM, FIXED, "resize=235,crop=224x224,"),
        (TIMM | {"crop_mode": "squash"}, OPEN, "resize=303x303,crop=288x288,"),
        (TIMM | {"crop_pct": None}, OPEN, "resize=329,crop=288x288,"),
        (TIMM | {"input_size": [3, 100, 200], "crop_pct": 1.0}, OPEN, "resize=100x200,crop=100x200,"),
    ],
)
def test_timm(config: Any, tensor: TensorSpec, geometry: str, tmp_path: Path) -> None:
    preprocess = found({"pretrained_cfg": config}, tensor, tmp_path, "config.json")
    assert str(preprocess).startswith(geometry)
    assert (preprocess.mean, preprocess.std, preprocess.interpolation) == (MEAN, STD, "bicubic")


@pytest.mark.parametrize(
    ("metadata", "tensor", "spelt"),
    [
        ({"task": "detect", "imgsz": "[480, 640]"}, OPEN, "letterbox=480x640,range=0-1,order=rgb"),
        ({"task": "segment", "imgsz": "[640, 640]"}, FIXED, "letterbox=224x224,"),
        ({"task": "pose"}, OPEN, "letterbox=640x640,"),
        ({"names": "{0: 'person'}"}, OPEN, "letterbox=640x640,"),
        ({"task": "classify", "imgsz": "[224, 224]"}, OPEN, "resize=224,crop=224x224,range=0-1,order=rgb"),
        (
            {"task": "detect", "imgsz": "[28, 28]", "channels": "1"},
            GREY,
            "letterbox=28x28,range=0-1,order=gray",
        ),
    ],
)
def test_ultralytics(metadata: dict[str, str], tensor: TensorSpec, spelt: str) -> None:
    preprocess, warnings = resolved(None, tensor, metadata={"stride": "32"} | metadata)
    assert str(preprocess).startswith(spelt)
    assert warnings == []


def test_sources_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(RESNET))
    model, yolo = tmp_path / "model.onnx", {"stride": "32", "task": "detect", "imgsz": "[224, 224]"}
    own = {"onnxcam": json.dumps({"schema": 1, "preprocess": str(parse("caffe", FIXED))})}
    assert resolved(None, FIXED, path=model, metadata=yolo) == (found(RESNET, FIXED, tmp_path), [])
    assert resolved(None, FIXED, path=model, metadata=yolo | own) == (parse("caffe", FIXED), [])
    assert resolved("unit", FIXED, path=model, metadata=yolo | own) == (parse("unit", FIXED), [])


def test_a_source_that_does_not_fit_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(RESNET | {"size": 384}))
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": "?"}}))
    metadata = {
        "onnxcam": json.dumps({"schema": 1, "preprocess": "nonsense"}),
        "stride": "32",
        "task": "detect",
    }
    preprocess, warnings = resolved(None, FIXED, path=tmp_path / "model.onnx", metadata=metadata)
    assert preprocess.letterbox == (224, 224)
    assert warnings[0].startswith(
        "the preprocessing in the metadata 'onnxcam' is passed over: preprocess 'nonsense' is"
    )
    assert warnings[1].startswith(
        "the preprocessing in preprocessor_config.json is passed over: preprocess makes 384x384"
    )
    assert warnings[2:] == ["the preprocessing in config.json (timm) is passed over: it has another form than expected"]


@pytest.mark.parametrize("size", [{"longest": 1024}, "wide", [], {"height": None, "width": 3}])
def test_sizes_that_cannot_be_read(size: Any, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(RESNET | {"size": size}))
    _, warnings = resolved(None, FIXED, path=tmp_path / "model.onnx")
    assert warnings[0].startswith("the preprocessing in preprocessor_config.json is passed over: it")
    assert warnings[1].startswith("the preprocessing is a guess")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 2, "preprocess": "raw"}', '{"schema": 1, "preprocess": 3}']
)
def test_foreign_metadata_says_nothing(text: str) -> None:
    assert resolved(None, FIXED, metadata={"onnxcam": text})[1][0].startswith("the preprocessing is a guess")


def test_a_preprocess_takes_the_model_s_dtype() -> None:
    half = spec(1, 3, 224, 224, dtype=np.float16)
    preprocess, _ = resolved(parse("imagenet", FIXED), half)
    assert preprocess == replace(parse("imagenet", FIXED), dtype=np.dtype(np.float16))
    with pytest.raises(PreprocessError, match="preprocess makes 96x96 pixels"):
        resolved(parse("imagenet", NHWC), spec(1, 224, 224, 3))


def test_a_function_is_used_as_it_is() -> None:
    preprocess, warnings = resolved(lambda image: image.transpose(2, 0, 1) * 2.0, OPEN)
    tensor = preprocess(plain(5, 7))
    assert (tensor.shape, tensor.dtype, tensor[0, 2, 0, 0]) == ((1, 3, 5, 7), F32, 400)
    assert preprocess.frame(5, 7) == Frame(0, 0, 7, 5)
    assert warnings == []
    assert str(preprocess) == "function <lambda>"
    assert resolved(preprocess, OPEN) == (preprocess, [])
    for shape in ((3,), (2, 3, 4, 4)):
        with pytest.raises(PreprocessError, match=r"the preprocess function returned shape .*; return"):
            resolved(lambda _, shape=shape: np.zeros(shape), OPEN)[0](plain(5, 7))


def test_nothing_else_is_a_preprocessing() -> None:
    with pytest.raises(PreprocessError, match="preprocess cannot be a int; give a string, a Preprocess or a function"):
        resolved(3, FIXED)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------
# Guesses


def graph_input(*shape: int | str | None) -> ir.Value:
    return ir.Value(name="x", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))


def then(value: ir.Value, op: str, *constants: Any, swap: bool = False, **attributes: Any) -> ir.Value:
    """Add a node on *value* and constants, of which every second one comes from a Constant node."""
    inputs = [value]
    for number, constant in enumerate(constants):
        tensor = ir.tensor(np.asarray(constant))
        inputs.append(
            ir.node("Constant", [], attributes={"value": tensor}).outputs[0]
            if number % 2
            else ir.Value(name=f"c{number}", const_value=tensor)
        )
    return ir.node(op, inputs[::-1] if swap else inputs, attributes=attributes).outputs[0]


def guessed(value: ir.Value, tensor: TensorSpec | None = None) -> str:
    tensor = tensor or TensorSpec.of(value)
    preprocess, (warning,) = resolved(None, tensor, graph_hint=value)
    name = warning.split("'")[1]
    assert preprocess == parse(name, tensor)
    assert warning.startswith(f"the preprocessing is a guess: '{name}' ({preprocess}), because ")
    assert "if the scores look wrong, state preprocess= (--preprocess) as one of imagenet, inception," in warning
    return name


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([], "imagenet"),
        ([("Relu",)], "imagenet"),
        ([("Sub", [127.0]), ("Div", [128.0])], "raw"),
        ([("Mul", 1 / 255), ("Sub", MEAN)], "raw"),
        ([("Sub", 0.0), ("Div", 255.0)], "raw"),
        ([("Add", [-103.9])], "raw"),
        ([("Sub", MEAN), ("Div", STD)], "unit"),
        ([("Mul", 2.0), ("Add", -1.0)], "unit"),
        ([("Relu",), ("Div", 255.0)], "imagenet"),
        ([("Identity",), ("Cast",), ("Div", 255.0)], "raw"),
        ([("BatchNormalization", [1.0], [0.0], [120.0], [3000.0])], "raw"),
        ([("BatchNormalization", [1.0], [0.0], [0.0], [3000.0])], "caffe"),
        ([("BatchNormalization", [1.0], [0.0], [0.0], [1.0])], "imagenet"),
        ([("BatchNormalization", [1.0], [0.0], [0.45], [0.05])], "unit"),
    ],
)
def test_guess_by_the_first_nodes(steps: list[tuple[Any, ...]], name: str) -> None:
    value = last = graph_input("N", 3, 224, 224)
    for op, *constants in steps:
        last = then(last, op, *constants, **({"to": 1} if op == "Cast" else {}))
    then(last, "Conv", np.ones((1, 3, 1, 1), np.float32))
    assert guessed(value) == name


def test_guess_behind_a_transpose() -> None:
    value = graph_input("N", 224, 224, 3)
    then(then(value, "Transpose", perm=[0, 3, 1, 2]), "Div", 255.0)
    assert guessed(value) == "raw"


def test_guess_looks_past_shape_and_at_either_operand() -> None:
    value = graph_input("N", 3, "H", "W")
    then(value, "Shape")
    then(value, "Mul", 0.0039, swap=True)
    assert guessed(value) == "raw"


def test_guess_stops_where_the_input_branches_or_meets_no_constant() -> None:
    value = graph_input("N", 3, 224, 224)
    ir.node("Sub", [value, ir.Value(name="mean")])
    assert guessed(value) == "imagenet"
    then(value, "Div", 255.0)
    assert guessed(value) == "imagenet"


def test_guess_by_layout_channels_and_type() -> None:
    assert guessed(graph_input(1, 96, 96, 3)) == "inception"
    assert guessed(graph_input(1, 1, 28, 28)) == "unit"
    assert guessed(graph_input(1, 3, 28, 28), spec(1, 28, 28, 3, dtype=np.int8)) == "raw"
    preprocess, (warning,) = resolved(None, FIXED)
    assert preprocess == parse("imagenet", FIXED)
    assert "because three channels, and the graph does not normalise them" in warning


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("resize=99999", "preprocess resize is 99999; a side is 1 to 16384 pixels"),
        ("crop=16385x8", "preprocess crop is 16385x8; a side is 1 to 16384 pixels"),
        ("letterbox=8x99999", "preprocess letterbox is 8x99999; a side is 1 to 16384 pixels"),
        ("mean=1e999", "preprocess mean is inf; numbers are at most 1e+09"),
        ("range=0-1e300", "preprocess range is 0.0/1e+300; numbers are at most 1e+09"),
        ("std=1/1e-300/1", "preprocess std is 1.0/1e-300/1.0; it divides, and is at least 1e-09"),
    ],
)
def test_sizes_and_numbers_out_of_bounds(words: str, said: str) -> None:
    with pytest.raises(PreprocessError) as caught:
        parse(words)
    assert str(caught.value) == said


def test_a_size_that_is_no_number() -> None:
    with pytest.raises(PreprocessError, match=r"preprocess crop is 8.5x8; a side is 1 to 16384 pixels"):
        Preprocess(crop=(8.5, 8))  # type: ignore[arg-type]


def test_a_picture_that_would_become_too_large() -> None:
    preprocess = Preprocess(resize=16384)
    with pytest.raises(PreprocessError, match=r"resize=16384 makes 16384 x 163840 of an image of 1 x 10 pixels"):
        preprocess(np.zeros((1, 10, 3), np.uint8))


def test_opencv_cannot_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    def resize(*_: object, **__: object) -> None:
        raise cv2.error("Insufficient memory")

    monkeypatch.setattr(cv2, "resize", resize)
    with pytest.raises(PreprocessError, match="OpenCV cannot scale an image of 4 x 4 pixels to 8 x 8; state"):
        Preprocess(resize=(8, 8))(np.zeros((4, 4, 3), np.uint8))


def test_no_memory_for_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "full", full)
    with pytest.raises(PreprocessError, match="not enough memory for a tensor of 8 x 9 pixels; state a smaller"):
        Preprocess(resize=(8, 9))(np.zeros((4, 4, 3), np.uint8))
