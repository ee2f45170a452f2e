"""Hugging Face's processors and what is read of their files make the same tensor of an image."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxcam.preprocess import TensorSpec, resolve

transformers = pytest.importorskip("transformers")
pillow = pytest.importorskip("PIL.Image")

OPEN = TensorSpec.make("x", np.dtype(np.float32), ("N", 3, "H", "W"))

KINDS = (
    "Beit Bit Blip CLIP ChineseCLIP ConditionalDetr ConvNext DPT DeepseekVL DeiT Detr Donut EfficientNet Flava Janus "
    "Levit Mask2Former "
    "MobileNetV1 MobileNetV2 MobileViT OwlViT Owlv2 Perceiver PoolFormer Pvt RTDetr Sam Segformer Siglip ViT Yolos"
).split()
COARSE = {"PoolFormer": 0.06, "Sam": 0.05, "Janus": 0.05, "DeepseekVL": 0.05}
"""Known differences: a crop that begins one pixel earlier; a border of one grey for a colour."""


def image() -> np.ndarray:
    coarse = np.random.default_rng(0).uniform(0, 255, (9, 12, 3)).astype(np.float32)
    return cv2.resize(coarse, (420, 300), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tensor_is_the_processors(kind: str, tmp_path: Path) -> None:
    names = (f"{kind}ImageProcessorPil", f"{kind}ImageProcessor")
    found = next((getattr(transformers, name) for name in names if hasattr(transformers, name)), None)
    try:
        processor = found()
        expected = np.asarray(processor(pillow.fromarray(image()), return_tensors="np")["pixel_values"])
    except (ImportError, TypeError, ValueError) as error:
        pytest.skip(f"this version of transformers has no such processor without further libraries: {error}")
    config = {"image_processor_type": f"{kind}ImageProcessor", **json.loads(processor.to_json_string())}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    made = resolve(None, OPEN, path=tmp_path / "model.onnx").preprocess(image())
    assert made.shape == expected.shape
    assert np.abs(made - expected).mean() < COARSE.get(kind, 0.02) * expected.std()
