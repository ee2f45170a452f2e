"""--layers: where two networks part is found, layers are matched, and what is mended on the way does not count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcam import Explainer
from onnxcam.compare.layer_agreement import LayerAgreement, LayerMarks, first_disagreeing, first_jump, marks, sentence
from onnxcam.compare.layers import LayerProbe, compare_layers, matched
from onnxcam.compare.observer import Observer
from onnxcam.errors import MetricError
from tests.compare.twins import PICTURES, SHAPES
from tests.networks import hand_model


def broken_at(path: Path, number: int) -> Path:
    """Write the shapes network with the weights of convolution *number* shuffled."""
    model = onnx.load(SHAPES)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    node = convolutions[number]
    tensor = next(t for t in model.graph.initializer if t.name == node.input[1])
    array = numpy_helper.to_array(tensor)
    shuffled = np.random.default_rng(0).permutation(array.ravel()).reshape(array.shape)
    tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    onnx.save(model, path)
    return path


def spoilt_scale(source: Path, path: Path, layer: str, factor: float = 12) -> Path:
    """Write the network of *source* with the scale of the Q/DQ pair behind *layer* divided by *factor*."""
    model = onnx.load(source)
    quantise = next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == layer)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    scale = numpy_helper.to_array(initializers[quantise.input[1]])
    model.graph.initializer.append(numpy_helper.from_array((scale / factor).astype(np.float32), "spoilt scale"))
    for node in model.graph.node:
        if node is quantise or (node.op_type == "DequantizeLinear" and node.input[0] == quantise.output[0]):
            node.input[1] = "spoilt scale"
    onnx.save(model, path)
    return path


def test_where_two_networks_part_is_found(tmp_path: Path) -> None:
    reference = Observer(SHAPES)
    path = broken_at(tmp_path / "broken.onnx", -1)
    images = [str(picture) for picture in PICTURES]
    same = compare_layers(reference, reference, images)
    assert len(same) > 3
    assert all(level.activations == pytest.approx(1) and level.iou == pytest.approx(1) for level in same)
    assert first_disagreeing(same) is None
    levels = compare_layers(reference, Observer(path), images)
    assert [level.reference for level in levels] == [level.reference for level in same]
    agrees = [level.activations is not None and level.activations > 0.9999 for level in levels]
    parted = agrees.index(False)
    assert all(agrees[:parted])  # before the broken layer the same is computed
    assert not any(agrees[parted:])
    assert {level.reference.split(".")[0] for level in levels[parted:]} == {"layer5"}  # the last convolution
    assert "layer5" not in {level.reference.split(".")[0] for level in levels[:parted]}
    assert first_jump(levels) == parted
    assert not any(mark.activations or mark.map for mark in marks(levels)[:parted])


def test_the_maps_are_those_of_layercam() -> None:
    observer, picture = Observer(SHAPES), str(PICTURES[0])
    probe = LayerProbe(observer)
    target, found = probe.ask(observer.prepare(picture), -1)
    for number in (0, len(probe.layers) - 1):
        explained = Explainer(SHAPES, method="layercam", layer=probe.layers[number].name)(picture, target)
        np.testing.assert_allclose(found[f"{number}.map"], explained.raw, rtol=1e-4, atol=1e-6)


def level(name: str, iou: float | None) -> LayerAgreement:
    return LayerAgreement(name, name, "7 × 7", 1.0, 1.0, iou)


def test_what_is_mended_on_the_way_does_not_count() -> None:
    levels = [level("a", 0.9), level("b", 0.2), level("c", 0.9)]
    assert first_disagreeing(levels) is None
    assert sentence(levels) == "they look at the same place up to the last layer, c (IoU 0.90)"
    levels += [level("d", 0.4), level("e", 0.1)]
    assert first_disagreeing(levels) == levels[3]
    assert sentence(levels) == "they begin to look elsewhere at d (IoU 0.40), after c"
    assert sentence(levels[3:]) == "they begin to look elsewhere at d (IoU 0.40), the first layer"


def distances(*values: float | None, iou: float | None = 0.9) -> list[LayerAgreement]:
    """Layers a, b, c, … whose activations have these values of 1 - cosine."""
    names = [chr(ord("a") + number) for number in range(len(values))]
    return [
        LayerAgreement(name, name, "7 × 7", None if value is None else 1 - value, 1.0, iou)
        for name, value in zip(names, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("values", "jump"),
    [
        ((0.002, 0.13, 0.37), 1),
        ((1e-7, 1e-7, 0.05), 2),  # a float network with one spoilt layer
        ((0.3, 0.4, 0.4), 0),
        ((0.0003, 0.0004, 0.013, 0.03, 0.13), 2),  # a small jump from which the agreement is lost
        ((0.0003, 0.0004, 0.013, 0.03), None),  # the agreement is not lost
        ((None, 0.002, None, 0.13), 3),
        (([0.001, 0.002, 0.001] * 20)[:50] + [0.1] * 10, 50),
        ([0.001] * 5 + [0.1] * 5 + [0.8] * 5, 5),  # two spoilt layers: the first
        ([0.01 * 1.2**step for step in range(24)], None),
        ((0.002, 0.008, 0.02), None),
        ((0.02, 0.06, 0.2), None),
        ((0.0, 0.0), None),
        ((None, None), None),
    ],
)
def test_the_layer_of_a_jump(values: list[float | None], jump: int | None) -> None:
    assert first_jump(distances(*values)) == jump


def test_healthy_layers_before_a_jump_are_not_marked() -> None:
    levels = distances(0.002, 0.13, 0.37, 0.001, iou=0.1)
    fine, wrong = LayerMarks(False, True), LayerMarks(True, True)
    assert marks(levels) == [LayerMarks(False, False), wrong, wrong, fine]
    assert sentence(levels[:3]) == (
        "they begin to differ at b: the cosine of the activations is 0.870, after 0.998 at a; check the operators "
        "between these two layers"
    )
    assert sentence(levels).endswith("after 0.998 at a; later layers correct it")
    assert "at this first layer already; check the preprocessing" in sentence(levels[1:])


def test_a_gradual_decline_names_no_layer() -> None:
    levels = distances(*(0.02 * 1.5**step for step in range(6)))
    assert sentence(levels) == (
        "the activations drift apart gradually, to a cosine of 0.848 at f: no single layer stands out"
    )
    assert [mark.activations for mark in marks(levels)] == [False] * 4 + [True, True]


def test_the_spoilt_scale_of_a_real_network_is_found(real: Path, tmp_path: Path) -> None:
    """A scale divided by 12, at a layer in the first, the middle and the last third."""
    float_model, sound = (real / "models" / f"vww_mobilenet_96_{kind}.onnx" for kind in ("f32", "qdq"))
    images = [str(real / "images" / name) for name in ("grace_hopper.jpg", "squat.jpg")]
    reference = Observer(float_model, preprocess="unit")
    for layer in ("Relu__14:0", "Relu__38:0", "Relu__65:0"):
        spoilt = spoilt_scale(sound, tmp_path / "spoilt.onnx", layer)
        levels = compare_layers(reference, Observer(spoilt, preprocess="unit"), images)
        jump = first_jump(levels)
        assert jump is not None
        assert levels[jump].reference == layer
        assert f"they begin to differ at {layer}" in sentence(levels)
        assert not any(mark.activations or mark.map for mark in marks(levels)[:jump])
        assert marks(levels)[jump].activations


def test_layers_are_matched_across_files_of_other_names(real: Path) -> None:
    """A float file and a quantised one, whose tensors are called otherwise."""
    first, second = (
        Observer(real / "models" / f"vww_mobilenet_96_{kind}.onnx", preprocess="crop=96x96,range=0-1")
        for kind in ("f32", "qdq")
    )
    levels = compare_layers(first, second, [str(real / "images" / "grace_hopper.jpg")])
    assert len(levels) > 20
    assert all(level.activations is not None and level.activations > 0.98 for level in levels)
    assert first_disagreeing(levels) is None
    assert first_jump(levels) is None


def test_nothing_in_common(tmp_path: Path) -> None:
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    reference, other = Observer(SHAPES), Observer(tmp_path / "hand.onnx")
    assert matched([], []) == []
    with pytest.raises(MetricError, match="--layers finds no layer that both networks have, neither by name nor by"):
        compare_layers(reference, other, [])
