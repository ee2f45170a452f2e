"""Methods for transformers find the same map in each form in which a file may hold the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.errors import MethodError
from tests.methods.transformer_forms import FORMS, X, form

METHODS = {
    "attnlrp": {},
    "attnlrp, dense": {"dense": 0.25, "first": "gamma"},
    **{name: {} for name in ("chefer", "rollout", "grad-eclip", "legrad")},
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return maps(form("dynamo", tmp_path_factory.mktemp("plain")))


def maps(model) -> dict[str, np.ndarray]:
    found = {}
    for name, settings in METHODS.items():
        if name == "legrad" and any(node.op_type.startswith("Skip") for node in model.graph.node):
            with pytest.raises(MethodError, match=r"legrad needs the ends of the blocks, which SkipLayerNormalization"):
                Explainer(model, method=name)
            continue
        explainer = Explainer(model, method=name.partition(",")[0], settings=settings)
        found[name] = explainer.attribute(X, target=[1, 2])
    return found


@pytest.mark.parametrize("name", list(FORMS)[1:])
def test_the_map_is_that_of_the_plain_file(expected, name: str, tmp_path: Path) -> None:
    model = form(name, tmp_path)
    assert FORMS[name] in {node.op_type for node in model.graph.node}
    for method, map in maps(model).items():
        np.testing.assert_allclose(map, expected[method], rtol=1e-3, atol=1e-5 * float(np.abs(map).max()))
