"""Models of clips of video and of volumes with several channels: one line says what to do."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import ImageError

CLIPS = {"16, 3, 64, 64": "x[:, None].repeat", "3, 16, 64, 64": "x[:, :, None].repeat", "16, 64, 64, 3": "x[:, None]"}


def network(shape: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    video (float[n, {shape}] x) => (float[n, {shape}] y) {{ y = Relu(x) }}
    """)


@pytest.mark.parametrize("shape", CLIPS)
@pytest.mark.parametrize("size", [(64, 64, 3), (16, 64, 64)])
def test_a_clip_is_named(shape: str, size: tuple[int, ...]) -> None:
    explainer = Explainer(network(shape))
    with pytest.raises(ImageError, match="clips of 16 frames") as caught:
        explainer(np.zeros(size, np.uint8))
    assert CLIPS[shape] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_channels_of_a_volume_are_named() -> None:
    with pytest.raises(ImageError, match="volumes of 4 channels"):
        Explainer(network("4, 16, 64, 64"))(np.zeros((16, 64, 64), np.float32))
