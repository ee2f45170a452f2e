"""--layers: where two networks part is found, layers are matched, and what is mended on the way does not count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcam import Explainer
from onnxcam.compare.layer_agreement import LayerAgreement, first_disagreeing, sentence
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


def test_nothing_in_common(tmp_path: Path) -> None:
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    reference, other = Observer(SHAPES), Observer(tmp_path / "hand.onnx")
    assert matched([], []) == []
    with pytest.raises(MetricError, match="--layers finds no layer that both networks have, neither by name nor by"):
        compare_layers(reference, other, [])
