"""Features of the explained layer, and maps at other sizes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.engine import Session
from onnxcam.graph.io import load
from onnxcam.media import image
from onnxcam.media.heatmap import normalize
from tests.batching.pictures import ASSETS, SHAPES

PICTURE = str(ASSETS / "shapes_1.png")


@pytest.mark.parametrize("method", ["gradcam", "layercam", "scorecam"])
def test_features_are_the_means_of_the_layers_channels(method: str) -> None:
    explainer = Explainer(SHAPES, method=method, features=True, settings={})
    found = explainer(PICTURE)
    assert found.features is not None
    assert explainer.choice is not None
    model = load(SHAPES)
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.append(values[explainer.choice.layer.tensor])
    tensor = explainer.preprocessing(image.read(PICTURE))
    layer = Session(model).run({explainer.network.picture: tensor})[explainer.choice.layer.tensor]
    np.testing.assert_allclose(found.features, layer[0].mean((1, 2)), rtol=1e-5)
    plain = Explainer(SHAPES, method=method)(PICTURE)
    assert plain.features is None
    np.testing.assert_array_equal(plain.raw, found.raw)


def test_a_method_without_a_layer_has_no_features() -> None:
    assert Explainer(SHAPES, method="gradient", features=True)(PICTURE).features is None


def test_maps_at_other_sizes() -> None:
    found = Explainer(SHAPES)(PICTURE)
    assert found.map_at is not None
    np.testing.assert_array_equal(found.map_at(found.map.shape), found.map)
    half = found.map_at((found.map.shape[0] // 2, found.map.shape[1] // 2))
    means = found.map.reshape(half.shape[0], 2, half.shape[1], 2).mean((1, 3))
    np.testing.assert_allclose(half, normalize(means), atol=0.03)
    assert pickle.loads(pickle.dumps(found)).map_at is None
