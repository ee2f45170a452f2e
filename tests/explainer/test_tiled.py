"""Windows: maps of inputs larger than the network's window equal those of the whole, where it sees all of it."""

from __future__ import annotations

import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from models import world3d
from onnxcam import Explainer
from onnxcam.errors import ImageError, MethodError, ModelError, PreprocessError, TargetError
from onnxcam.media.tiles import Tile
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.goal import Goal
from onnxcam.targets.kinds import ClassRegion
from tests import networks

MODELS = Path(__file__).parents[2] / "models"
RNG = np.random.default_rng(5)
VOLUME = RNG.standard_normal((22, 27, 20)).astype(np.float32)
WINDOW = (16, 16, 16)
SMALL: Any = {"preprocess": "raw", "window": WINDOW, "spin": False}


def network(*size: int) -> bytes:
    """Two convolutions and three values for each pixel or voxel: a receptive field of 5."""
    axes, lengths, pads = len(size), ", ".join(map(str, size)), [1] * len(size) * 2
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 20]> main (float[n, 1, {lengths}] x) => (float[n, 3, {lengths}] y) {{
            a = Conv<pads = {pads}>(x, w)  h = Relu(a)  y = Conv<pads = {pads}>(h, v)
        }}""")
    rng = np.random.default_rng(2)
    for name, shape in (("w", (4, 1)), ("v", (3, 4))):
        values = rng.standard_normal((*shape, *[3] * axes)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    model.metadata_props.add(key="onnxcam", value='{"schema": 1, "task": "segmentation"}')
    return model.SerializeToString()


def alike(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("method", ["gradient", "gradient-x-input", "hirescam", "layercam", "gradcam", "deeplift"])
def test_the_map_of_windows_is_that_of_the_whole(method: str) -> None:
    whole = Explainer(network(*VOLUME.shape), method, preprocess="raw")(VOLUME)
    tiled = Explainer(network(*WINDOW), method, **SMALL)(VOLUME)
    assert (tiled.words, tiled.map.shape) == (whole.words, VOLUME.shape)
    assert tiled.score == pytest.approx(whole.score, rel=0.01)
    assert alike(tiled.outputs["y"], whole.outputs["y"]) > 0.999
    assert alike(tiled.map, whole.map) > 0.99


@pytest.mark.parametrize("method", ["gradient", "layercam", "gradcam"])
def test_outputs_of_half_the_size_and_channels_last(method: str) -> None:
    def model(height: object, width: object) -> onnx.ModelProto:
        half = [f"{n // 2}" if isinstance(n, int) else "h" for n in (height, width)]
        made = onnx.parser.parse_model(f"""
            <ir_version: 8, opset_import: ["": 20]>
            main (float[n, {height}, {width}, 3] x) => (float[n, {half[0]}, {half[1]}, 2] y) {{
                t = Transpose<perm = [0, 3, 1, 2]>(x)
                a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(t, w)  h = Relu(a)
                b = Conv<pads = [1, 1, 1, 1]>(h, v)  y = Transpose<perm = [0, 2, 3, 1]>(b)
            }}""")
        rng = np.random.default_rng(4)
        for name, shape in (("w", (4, 3, 3, 3)), ("v", (2, 4, 3, 3))):
            made.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
        return made

    image = RNG.integers(0, 255, (44, 70, 3), np.uint8)
    options: Any = {"preprocess": "unit", "task": "segmentation"}
    whole = Explainer(model(44, 70), method, **options)(image, "class=1")
    tiled = Explainer(model(32, 32), method, window=(32, 32), **options)(image, "class=1")
    assert tiled.outputs["y"].shape == (1, 22, 35, 2)
    assert alike(tiled.map, whole.map) > 0.99


def test_a_procedure_and_signed_maps() -> None:
    options: Any = {"method": "integrated-gradients", "settings": {"steps": 4}, "signed": True}
    whole = Explainer(network(*VOLUME.shape), preprocess="raw", **options)(VOLUME, "class=1")
    tiled = Explainer(network(*WINDOW), **SMALL, **options)(VOLUME, "class=1")
    assert alike(tiled.map, whole.map) > 0.99


def test_the_gradient_is_exactly_that_of_the_joined_output() -> None:
    explainer = Explainer(network(*WINDOW), "gradient", **SMALL)
    mask = np.zeros(VOLUME.shape, np.uint8)
    mask[3:19, 5:22, 2:9] = 1
    target = ClassRegion(2, mask)
    found = explainer(VOLUME, target)
    joined = explainer(VOLUME, target).outputs["y"][0, 2]
    assert found.score == pytest.approx(joined[mask > 0].mean(), rel=1e-4)
    for _ in range(3):
        way = np.sign(found.raw[0]) * RNG.random(VOLUME.shape).astype(np.float32)
        step = 1e-3
        up, down = (explainer(VOLUME + sign * step * way, target).score for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(float((found.raw[0] * way).sum()), rel=0.02)


def test_images_keep_their_size_and_are_tiled_too() -> None:
    image = RNG.integers(0, 255, (45, 70, 3), np.uint8)
    whole = Explainer(network(45, 70), "layercam", preprocess="unit")(image)
    tiled = Explainer(network(32, 32), "layercam", preprocess="unit", window=(32, 32), overlap=0.25)(image)
    assert tiled.map.shape == image.shape[:2]
    assert alike(tiled.map, whole.map) > 0.99


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_a_network_that_sees_further_than_a_window_is_pointed_out(overlap: float) -> None:
    image = RNG.integers(0, 255, (40, 56, 3), np.uint8)
    near = onnx.load_model_from_string(network(16, 16))
    far = onnx.load_model_from_string(network(16, 16))
    for node in (one for one in far.graph.node if one.op_type == "Conv"):  # from 5 to 25 pixels
        del node.attribute[:]
        spread = {"dilations": [6, 6], "pads": [6] * 4}
        node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in spread.items())
    said = [
        Explainer(model, "layercam", preprocess="unit", window=(16, 16), overlap=overlap)(image).warnings
        for model in (near, far)
    ]
    assert not [one for one in said[0] if "windows differ" in one]
    assert "and it takes no larger window; export it for one" in " ".join(said[1])
    assert [
        one for one in said[1] if "% of the variance of 'y': the network sees further than a window of 16 × 16" in one
    ]


def test_a_volume_smaller_than_the_window_is_padded() -> None:
    volume = VOLUME[:9, :20, :11]
    padded = np.pad(volume, ((3, 4), (0, 0), (2, 3)))
    whole = Explainer(network(16, 20, 16), "gradient", preprocess="raw")
    tiled = Explainer(network(*WINDOW), "gradient", **SMALL)
    mask = np.zeros(volume.shape, np.uint8)
    mask[2:7, 4:16, 3:8] = 1
    expected = whole(padded, ClassRegion(0, np.pad(mask, ((3, 4), (0, 0), (2, 3))))).map[3:12, :, 2:13]
    assert alike(tiled(volume, ClassRegion(0, mask)).map, expected) > 0.999


def test_tensors_are_tiled_too() -> None:
    explainer = Explainer(network(*WINDOW), "gradient", **SMALL)
    x = np.stack([VOLUME[None], VOLUME[None, ::-1]])
    found = explainer.attribute(x, "class=1")
    assert found.shape == x.shape
    np.testing.assert_allclose(found[0], explainer(VOLUME, "class=1").raw, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(explainer.scores(x, "class=1")[0], explainer(VOLUME, "class=1").score, rtol=1e-5)


def test_the_layer_of_a_trained_network() -> None:
    rng = np.random.default_rng(3)
    scenes = [world3d.sample(rng) for _ in range(2)]
    volume = np.concatenate([scene.image for scene in scenes])
    explainer = Explainer(MODELS / "volumes.onnx", preprocess="raw", window=(32, 32, 32))
    label = scenes[1].objects[0].label
    found = explainer(volume, f"class={label}")
    mask = np.concatenate([scene.mask(label) for scene in scenes])
    assert found.map[mask].mean() > 5 * found.map[~mask].mean()


def test_a_voxel_of_the_joined_output() -> None:
    counts: list[int] = []

    def progress(parts: Any, total: int) -> Any:
        counts.append(total)
        return parts

    found = Explainer(network(*WINDOW), "gradient", progress=progress, **SMALL)(VOLUME, "y[0, 2, 20, 20, 18]")
    assert found.score == pytest.approx(found.outputs["y"][0, 2, 20, 20, 18], rel=1e-4)
    seen = np.argwhere(found.map > 0)
    assert (seen.min(0) >= [18, 18, 16]).all()  # two voxels around it
    assert counts == [2]  # of 12 windows


def test_a_goal_elsewhere() -> None:
    stitched = Explainer(network(*WINDOW), "gradient", **SMALL).network.stitched
    assert stitched is not None
    with pytest.raises(TargetError, match=r"a target is a part of 'y', the output that is joined, and 'it' is not"):
        next(stitched.goals(Goal(WeightsAim("h"), np.zeros((4, *WINDOW)), "it"), VOLUME[None, None]))


def test_windows_out_of_the_target_are_not_explained() -> None:
    explainer = Explainer(network(*WINDOW), "gradient", **SMALL)
    mask = np.zeros((64, 16, 16), np.uint8)
    mask[60:] = 1
    found = explainer(RNG.standard_normal(mask.shape).astype(np.float32), ClassRegion(0, mask))
    assert found.map[48:].any()
    assert not found.map[:46].any()


def test_what_a_volume_needs_are_arrays_of_its_size() -> None:
    """The joined output, the weights of the target, and the map; not the tensors of more than one window."""
    explainer, peaks = Explainer(network(*WINDOW), "gradient", **SMALL), []
    for depth in (32, 128):
        volume = RNG.standard_normal((depth, 32, 32)).astype(np.float32)
        explainer(volume, "class=1")
        tracemalloc.start()
        explainer(volume, "class=1")
        peaks.append(tracemalloc.get_traced_memory()[1] / volume.nbytes)
        tracemalloc.stop()
    assert peaks[1] < min(16, 1.05 * peaks[0])  # with five times as many windows


def test_one_window_is_alive_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most, cut = weakref.WeakSet[Any](), [0], Tile.cut

    def counted(tile: Tile, array: NDArray[Any], axes: Any) -> NDArray[Any]:
        found = cut(tile, array, axes).view(_Counted)
        if array.ndim == 5:  # the input's tensor
            alive.add(found)
        most[0] = max(most[0], len(alive))
        return found

    explainer = Explainer(network(*WINDOW), "gradient", **SMALL)
    monkeypatch.setattr(Tile, "cut", counted)
    explainer(VOLUME, "class=1")
    assert 1 <= most[0] <= 2  # the one before goes when its successor is there


class _Counted(np.ndarray[Any, Any]):
    __hash__ = object.__hash__  # type: ignore[assignment]


def test_what_windows_do_not_do() -> None:
    model = network(*WINDOW)
    for kind, message, options in (
        (
            ModelError,
            r"'x' is of the size 16 × 16 × 16, not 32 × 16 × 16; give that",
            {"window": (32, 16, 16)},
        ),
        (
            ModelError,
            r"16 × 16 has 2 lengths, and the input 'x' has 3 axes of space; give one for each",
            {"window": (16, 16)},
        ),
        (
            PreprocessError,
            "the overlap of windows is 1; it is a share from 0 to below 1",
            {"window": WINDOW, "overlap": 1.0},
        ),
        (PreprocessError, r"the window is 16; give a length for each axis, such as \(64, 64, 64\)", {"window": 16}),
        (PreprocessError, r"an overlap \(--overlap\) is one of windows; give the window too", {"overlap": 0.5}),
        (
            MethodError,
            "the maps of eigencam for windows do not add up .* use --method gradcam, hirescam, ",
            {"window": WINDOW, "method": "eigencam"},
        ),
        (MethodError, r"smooth=eigen \(--smooth\) does not apply with a window", {"window": WINDOW, "smooth": "eigen"}),
    ):
        with pytest.raises(kind, match=message):
            Explainer(model, **{"preprocess": "raw", **options})


def test_a_volume_of_another_size_than_the_network_takes() -> None:
    message = r"takes volumes of 16 × 16 × 16, and this one is 22 × 27 × 20; .* \(--window 16,16,16\), or resample it"
    with pytest.raises(ImageError, match=message):
        Explainer(network(*WINDOW), preprocess="raw")(VOLUME)
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 20]> main (float[n, 1, 16, 16, 16] x) => (float[n, 2] y) {
            a = Concat<axis = 1>(x, x)  h = GlobalAveragePool(a)  y = Flatten(h)
        }""")
    with pytest.raises(ImageError, match=r"this one is 22 × 27 × 20; resample it$"):  # no output to join
        Explainer(model, "gradient", preprocess="raw")(VOLUME)


def test_gradcam_of_several_layers_and_signed() -> None:
    with pytest.raises(MethodError, match=r"with a window \(--window\) gradcam explains one layer; name one"):
        Explainer(network(*WINDOW), "gradcam", layer="h,a", **SMALL)(VOLUME)
    whole = Explainer(network(*VOLUME.shape), "gradcam", preprocess="raw", signed=True)(VOLUME)
    tiled = Explainer(network(*WINDOW), "gradcam", signed=True, **SMALL)(VOLUME)
    assert tiled.map.min() < 0
    assert alike(tiled.map, whole.map) > 0.99


def test_models_without_an_output_to_join() -> None:
    with pytest.raises(ModelError, match=r"for models with a value for each pixel or voxel, and this is a classifier"):
        Explainer(networks.classifier(), window=(8, 8))
    unpadded = onnx.load_from_string(network(*WINDOW))
    unpadded.graph.node[0].attribute[0].ints[:] = [0, 1, 1, 0, 1, 1]
    del unpadded.graph.output[0].type.tensor_type.shape.dim[2:]
    for _ in range(3):
        unpadded.graph.output[0].type.tensor_type.shape.dim.add()
    with pytest.raises(ModelError, match="the output 'y' does not cover its window evenly"):
        Explainer(unpadded, **SMALL)
    explainer = Explainer(network(*WINDOW), **SMALL)
    with pytest.raises(TargetError, match=r"only 'y' is joined, and the target reads 'h'"):
        explainer(VOLUME, "h[0, 0, 0, 0, 0]")
