"""Networks that take no image, or two in one input: what they are, or what the user can do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import ModelError, PreprocessError
from tests.zoo.convention import picture
from tests.zoo.dense import IMAGE
from tests.zoo.networks import bright


def decoder(others: str) -> onnx.ModelProto:
    """Return a mask decoder that takes features of an image, and *others*."""
    return onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["": 17], producer_name: "pytorch">
        main_graph (float[1, 256, 16, 16] image_embeddings, float[1, N, 2] point_coords{others})
            => (float[1, 1, 16, 16] masks) {{
            m = ReduceMean<axes = [1]>(image_embeddings)
            p = ReduceSum(point_coords)
            masks = Mul(m, p)
        }}
        """
    )


def test_a_decoder_of_masks_takes_no_image(tmp_path: Path) -> None:
    path = tmp_path / "decoder.onnx"
    onnx.save(decoder(", float[1, 1, 64, 64] mask_input"), path)
    with pytest.raises(ModelError, match=r"no input of the model is an image .* explain the file of that encoder"):
        Explainer(path)


def test_a_single_input_of_features_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "decoder.onnx"
    onnx.save(decoder(""), path)
    with pytest.raises(PreprocessError, match="takes 256 features of another model, not an image"):
        Explainer(path, inputs={"point_coords": np.zeros((1, 1, 2), np.float32)})(picture())


def test_two_frames_in_one_input_make_an_image(tmp_path: Path) -> None:
    path = tmp_path / "rife.onnx"
    onnx.save(bright("float[1, 3, 64, 64] output", "output = Conv(a, k)", channels=6, batch=1, k=IMAGE), path)
    assert Explainer(path).network.task.name == "an image-to-image model"
