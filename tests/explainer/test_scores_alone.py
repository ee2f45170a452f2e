"""A procedure asks for scores in a session that does not keep the layer's tensor."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.engine import Session
from onnxcam.metadata.reserved import MAP, SCORE

SHAPES = str(resources.files("onnxcam") / "assets" / "shapes.onnx")
X = np.random.default_rng(0).random((1, 3, 96, 96), np.float32)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The outputs of each session that runs."""
    ran, run = [], Session.run

    def recorded(self, feeds, outputs=None):
        ran.append(self.outputs)
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", recorded)
    return ran


def test_scores_of_masked_images_need_no_tensor_of_the_layer(sessions) -> None:
    explainer = Explainer(SHAPES, method="scorecam", provider="cpu")
    sessions.clear()
    explainer.attribute(X, 0)
    first, *others = sessions
    assert MAP in first
    assert others
    assert all(MAP not in outputs and SCORE in outputs for outputs in others)


def test_both_sessions_give_the_same_scores() -> None:
    explainer = Explainer(SHAPES, method="scorecam", provider="cpu")
    compiled = explainer._runner.compiled(explainer._request(X, 0))
    feeds = explainer._request(X, 0).feeds(explainer.network)
    np.testing.assert_allclose(compiled.run(feeds)[SCORE], compiled.run(feeds, [SCORE])[SCORE], rtol=1e-6)


def test_a_method_of_one_pass_has_one_session(sessions) -> None:
    explainer = Explainer(SHAPES, method="gradcam", provider="cpu")
    explainer.scores(X, 0)
    assert all(MAP in outputs for outputs in sessions if SCORE in outputs)
