"""PaddlePaddle's configuration files beside a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcam.preprocess import TensorSpec, resolve

OPEN = TensorSpec.make("x", np.dtype(np.float32), (-1, 3, -1, -1))
FIXED = TensorSpec.make("x", np.dtype(np.float32), (1, 3, 640, 640))

CLASSIFIER = """
Global:
  model_name: PP-LCNet_x1_0
PreProcess:
  transform_ops:
  - ResizeImage:
      resize_short: 256
  - CropImage:
      size: 224
  - NormalizeImage:
      channel_num: 3
      mean:
      - 0.485
      - 0.456
      - 0.406
      order: ''
      scale: 0.00392156862745098
      std:
      - 0.229
      - 0.224
      - 0.225
  - ToCHWImage: null
PostProcess:
  Topk:
    topk: 5
    label_list:
    - tench, Tinca tinca
"""
DETECTOR = """
mode: paddle
draw_threshold: 0.5
arch: DETR
Preprocess:
- interp: 2
  keep_ratio: false
  target_size:
  - 640
  - 640
  type: Resize
- mean:
  - 0.0
  - 0.0
  - 0.0
  norm_type: none
  std:
  - 1.0
  - 1.0
  - 1.0
  type: NormalizeImage
- type: Permute
label_list:
- person
"""
FACES = """
Preprocess:
- is_scale: false
  mean:
  - 123
  - 117
  - 104
  std:
  - 127.502231
  - 127.502231
  - 127.502231
  type: NormalizeImage
- interp: 1
  keep_ratio: true
  target_size: [640, 640]
  type: Resize
- type: Permute
"""
READER = """
PreProcess:
  transform_ops:
  - DecodeImage:
      channel_first: false
      img_mode: BGR
  - RecResizeImg:
      image_shape: [3, 48, 320]
  - KeepKeys:
      keep_keys: [image, label_ctc]
"""


@pytest.mark.parametrize(
    ("text", "name", "tensor", "spelt"),
    [
        (
            CLASSIFIER,
            "inference.yml",
            OPEN,
            "resize=256,crop=224x224,range=0-1,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,order=rgb,layout=nchw",
        ),
        (DETECTOR, "infer_cfg.yml", FIXED, "resize=640x640,range=0-1,order=rgb,layout=nchw,interpolation=bicubic"),
        (DETECTOR, "inference.yml", OPEN, "resize=640x640,range=0-1,order=rgb,layout=nchw,interpolation=bicubic"),
        (
            FACES,
            "infer_cfg.yml",
            FIXED,
            "letterbox=640x640,fill=0,anchor=corner,range=0-255,mean=123/117/104,"
            "std=127.502231/127.502231/127.502231,order=rgb,layout=nchw",
        ),
        (
            READER,
            "inference.yml",
            OPEN,
            "letterbox=48x320,fill=128,anchor=corner,range=0-1,mean=0.5,std=0.5,order=bgr,layout=nchw",
        ),
        (
            CLASSIFIER.replace("0.00392156862745098", "1.0/255.0"),
            "inference.yml",
            OPEN,
            "resize=256,crop=224x224,range=0-1,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,order=rgb,layout=nchw",
        ),
    ],
)
def test_it_is_read(text: str, name: str, tensor: TensorSpec, spelt: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = resolve(None, tensor, path=tmp_path / "model.onnx")
    assert str(found.preprocess) == spelt
    assert (found.source, found.why, found.warnings) == ("file", f"{name} (PaddlePaddle)", ())


def test_an_unknown_way_to_resize_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "inference.yml").write_text(READER.replace("RecResizeImg", "DetResizeForTest"))
    first, _ = resolve(None, OPEN, path=tmp_path / "model.onnx").warnings
    assert "its operator DetResizeForTest has no counterpart here" in first


@pytest.mark.parametrize("text", ["a: &x 1", "Preprocess: 3", "PreProcess:\n  transform_ops: x", "- 1", "\t", "a: [1"])
def test_other_files_say_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "inference.yml").write_text(text)
    (warning,) = resolve(None, FIXED, path=tmp_path / "model.onnx").warnings
    assert warning.startswith("the preprocessing is a guess")
