"""One number for the second of two classes: baked metadata and recordings have both classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.compare.record import record
from onnxcam.compare.recordings import Recording
from onnxcam.metadata.reserved import stamp_of
from tests.zoo.convention import picture
from tests.zoo.trunk import vector

NAMES = ["dark", "lit"]
SIGMOID = "w = Gemm<transB = 1>(v, g) y = Sigmoid(w)"
LOGIT = "y = Gemm<transB = 1>(v, g)"


def two_classes(tail: str, folder: Path) -> Path:
    """Write a network with one number ``y`` [N, 1]: whether a place is lit."""
    onnx.save(vector(tail, "float[N, 1] y"), folder / "two.onnx")
    return folder / "two.onnx"


@pytest.mark.parametrize("tail", [SIGMOID, LOGIT])
def test_a_recording_has_both_classes(tail: str, tmp_path: Path) -> None:
    model, image = two_classes(tail, tmp_path), tmp_path / "image.png"
    Image.fromarray(picture()).save(image)
    record(model, [image], tmp_path / "run", labels=NAMES)
    (outcome,) = Recording(tmp_path / "run")
    found = Explainer(model, labels=NAMES)(image)
    assert found.label == "lit"
    assert outcome.prediction.scores.shape == (2,)
    assert outcome.target == 1
    assert outcome.prediction.probabilities is not None
    np.testing.assert_allclose(outcome.prediction.probabilities, [1 - found.probability, found.probability], atol=1e-6)


@pytest.mark.parametrize(("tail", "kind"), [(SIGMOID, "none"), (LOGIT, "softmax")])
def test_a_baked_model_says_so(tail: str, kind: str, tmp_path: Path) -> None:
    bake(two_classes(tail, tmp_path), tmp_path / "baked.onnx", labels=NAMES)
    model = onnx.load(tmp_path / "baked.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert stamp_of(metadata)["scores"] == {"name": "y", "units": None, "probabilities": kind, "pair": True}
