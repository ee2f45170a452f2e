"""Conventions of preprocessing: what a file, or a file beside it, says of the way from an image to the tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxcam import Explainer, Explanation
from tests.zoo.convention import Convention

__all__ = ["CONVENTIONS"]

RED = (40, 16, 56, 32)  # the red square; a blue one of half the size lies at (4, 44) to (12, 52)


def red_and_blue() -> NDArray[np.uint8]:
    """Return a black image, uint8 [64, 64, 3] RGB, with a red square and a smaller blue one."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:32, 40:56, 0], image[44:52, 4:12, 2] = 255, 255
    return image


def network(
    metadata: Mapping[str, str] | None = None,
    *,
    bgr: bool = False,
    size: str = "64, 64",
    inside: str = "y = Identity(x)",
    names: tuple[str, str] = ("x", "logits"),
) -> Callable[[], onnx.ModelProto]:
    """Return the maker of a classifier: class 0 is "red somewhere", class 1 "blue", by the order of its channels."""
    rows = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]] if bgr else [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    weights = ", ".join(str(w) for row in rows for w in row)
    text = f"""
        <ir_version: 8, opset_import: ["": 17]>
        main (float[N, 3, {size}] x) => (float[N, 2] logits) {{
            k = Constant<value = float[2, 3, 1, 1] {{{weights}}}> ()
            {inside}
            c = Conv<strides = [2, 2]>(y, k)
            a = Relu(c)
            g = GlobalAveragePool(a)
            logits = Flatten(g)
        }}
    """

    def make() -> onnx.ModelProto:
        model = onnx.parser.parse_model(text)
        for key, value in (metadata or {}).items():
            model.metadata_props.add(key=key, value=value)
        source, target = names
        first = next(node for node in model.graph.node if "x" in node.input)
        model.graph.input[0].name = first.input[0] = source
        model.graph.output[0].name = model.graph.node[-1].output[0] = target
        return model

    return make


def row(
    name: str,
    producer: str,
    users: str,
    signature: str,
    spelt: str,
    source: str,
    *,
    make: Callable[[], onnx.ModelProto] | None = None,
    files: Mapping[str, Any] | None = None,
    warns: str = "",
) -> Convention:
    """Return a convention whose preprocessing reads *spelt* and is known by *source*."""

    def is_known(explainer: Explainer, found: Explanation) -> None:
        assert [part.source for part in explainer.reading if part.name == "preprocessing"] == [source]
        assert found.target == 0
        assert warns or not any("guess" in warning for warning in found.warnings)

    texts = {name: text if isinstance(text, str) else json.dumps(text) for name, text in (files or {}).items()}
    return Convention(
        name, producer, users, signature, make or network(), "a classifier", parts={"preprocessing": spelt},
        files=texts, image=red_and_blue, square=RED, warns=warns, check=is_known,
    )  # fmt: skip


HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_resize": True, "do_normalize": True, "resample": 2}
SIXTY_FOUR = {"height": 64, "width": 64}
SHORT = {"shortest_edge": 64}


def processor(kind: str, **config: Any) -> dict[str, Any]:
    """Return the files of a Hugging Face repository with an image processor of *kind*."""
    return {"preprocessor_config.json": {**HALF, "image_processor_type": f"{kind}ImageProcessor", **config}}


CUSTOM_VISION = {
    "CustomVision.Metadata.Version": "1.1",
    "CustomVision.Postprocess.Method": "ClassificationMultiClass",
    "CustomVision.Preprocess.CropHeight": "0",
    "CustomVision.Preprocess.CropMethod": "FullImageShorterSide",
    "CustomVision.Preprocess.CropWidth": "0",
    "CustomVision.Preprocess.NormalizeMean": "[0.0, 0.0, 0.0]",
    "CustomVision.Preprocess.NormalizeStd": "[1.0, 1.0, 1.0]",
    "CustomVision.Preprocess.ResizeMethod": "ByShorterSideAlign32",
    "Image.BitmapPixelFormat": "Bgr8",
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "Normalized_0_1",
}
WINDOWS = {key: value for key, value in CUSTOM_VISION.items() if key.startswith("Image.")}
PADDLE = """
PreProcess:
  transform_ops:
  - ResizeImage:
      resize_short: 64
  - CropImage:
      size: 64
  - NormalizeImage:
      mean: [0.485, 0.456, 0.406]
      order: ''
      scale: 1.0/255.0
      std: [0.229, 0.224, 0.225]
  - ToCHWImage: null
"""
PADDLE_DETECTION = """
arch: PicoDet
Preprocess:
- interp: 2
  keep_ratio: false
  target_size:
  - 64
  - 64
  type: Resize
- is_scale: true
  mean:
  - 0.485
  - 0.456
  - 0.406
  std:
  - 0.229
  - 0.224
  - 0.225
  type: NormalizeImage
- type: Permute
"""
TIMM = {"architecture": "resnet18", "pretrained_cfg": {
    "input_size": [3, 64, 64], "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center",
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}}  # fmt: skip
BAKED = {"onnxcam.baked": json.dumps({"schema": 1, "method": "gradcam", "layer": None, "target": "top", "picture": {
    "tensor": "x", "resize": [64, 64], "crop": None, "letterbox": None, "interpolation": "bilinear", "order": "rgb",
    "layout": "nchw", "dtype": "float32", "range": [0, 1], "mean": [0.0], "std": [1.0], "units": None, "raw": False,
    "guess": "three channels, and the graph does not normalise them",
}})}  # fmt: skip

CONVENTIONS = [
    row("custom-vision-range", "Azure Custom Vision", "compact domains as ONNX", "metadata Image.*, CustomVision.*",
        "resize=64x64,range=0-1,order=bgr", "metadata", make=network(CUSTOM_VISION, bgr=True)),
    row("windows-ml", "WinMLTools, Windows ML", "models for video frames", "Image.BitmapPixelFormat Bgr8",
        "range=0-255,order=bgr", "metadata",
        make=network(WINDOWS | {"Image.NominalPixelRange": "NominalRange_0_255"}, bgr=True)),
    row("windows-ml-signed", "WinMLTools, Windows ML", "models of −1 to 1", "Image.NominalPixelRange Normalized_1_1",
        "range=-1-1,order=rgb", "metadata",
        make=network(WINDOWS | {"Image.NominalPixelRange": "Normalized_1_1", "Image.BitmapPixelFormat": "Rgb8"})),
    row("custom-vision-folder", "Azure Custom Vision", "ONNX exports whose metadata a tool has removed",
        "metadata_properties.json", "range=0-1,order=bgr", "file", make=network(bgr=True),
        files={"metadata_properties.json": CUSTOM_VISION}),
    row("hf-vit", "Optimum", "ViT, Swin", "preprocessor_config.json, ViTImageProcessor",
        "resize=64x64,range=0-1,mean=0.5/0.5/0.5", "file", files=processor("ViT", size=SIXTY_FOUR)),
    row("hf-efficientnet", "Optimum", "google/efficientnet-b0 to b7", "EfficientNetImageProcessor, include_top",
        "std=0.25/0.25/0.25", "file", files=processor("EfficientNet", size=SIXTY_FOUR, include_top=True, resample=0)),
    row("hf-mobilevit", "Optimum", "apple/mobilevit-small", "MobileViTImageProcessor, BGR, not normalised",
        "range=0-1,order=bgr", "file", make=network(bgr=True),
        files={"preprocessor_config.json": {"image_processor_type": "MobileViTImageProcessor", "do_resize": True,
                                            "do_center_crop": True, "size": SHORT, "crop_size": SIXTY_FOUR,
                                            "do_flip_channel_order": True}}),
    row("hf-convnext", "Optimum", "facebook/convnext, ResNet", "ConvNextImageProcessor, crop_pct",
        "resize=73,crop=64x64", "file", files=processor("ConvNext", size=SHORT, crop_pct=0.875)),
    row("hf-clip", "Optimum", "CLIP, BiT, DINOv2", "CLIPImageProcessor, bicubic",
        "resize=64,crop=64x64,range=0-1", "file",
        files=processor("CLIP", size=SHORT, do_center_crop=True, crop_size=SIXTY_FOUR, resample=3)),
    row("hf-detr", "Optimum", "DETR, YOLOS, Mask2Former", "DetrImageProcessor, shortest and longest edge",
        "resize=64,longest=107", "file", make=network(size="H, W"),
        files=processor("Detr", size={"shortest_edge": 64, "longest_edge": 107})),
    row("hf-owlv2", "Optimum", "OWLv2", "Owlv2ImageProcessor, black below or to the right",
        "letterbox=64x64,fill=0,anchor=corner", "file", files=processor("Owlv2", size=SIXTY_FOUR, do_pad=True)),
    row("hf-rescale-offset", "Optimum", "EfficientNet variants, ViViT", "rescale_factor 1/127.5, rescale_offset",
        "range=-1-1", "file",
        files=processor("Vivit", size=SIXTY_FOUR, rescale_factor=1 / 127.5, rescale_offset=True, do_normalize=False)),
    row("timm", "timm", "timm's models on the hub", "config.json, pretrained_cfg",
        "resize=64,crop=64x64,range=0-1,mean=0.485/0.456/0.406", "file", files={"config.json": TIMM}),
    row("paddleclas", "paddle2onnx", "PaddleClas, PaddleX", "inference.yml, PreProcess",
        "resize=64,crop=64x64,range=0-1", "file", files={"inference.yml": PADDLE}),
    row("paddledetection", "paddle2onnx", "PaddleDetection's configuration", "infer_cfg.yml, Preprocess",
        "resize=64x64,range=0-1,mean=0.485/0.456/0.406", "file", files={"infer_cfg.yml": PADDLE_DETECTION}),
    row("hf-janus", "Optimum", "Janus, DeepSeek-VL", "JanusImageProcessor, background_color",
        "letterbox=64x64,fill=114", "file",
        files=processor("Janus", size=SIXTY_FOUR, background_color=[122, 116, 104], do_pad=True)),
    row("hf-llava", "Optimum", "LLaVA", "LlavaImageProcessor, do_pad", "letterbox=64x64,fill=128", "file",
        files=processor("Llava", size=SHORT, do_pad=True)),
    row("hf-pixtral", "Optimum", "Pixtral", "PixtralImageProcessor, longest_edge", "resize=64,longest=64", "file",
        make=network(size="H, W"), files=processor("Pixtral", size={"longest_edge": 64})),
    row("ultralytics-classifier", "Ultralytics", "-cls without metadata", "images [N, 3, H, W], output0 [N, classes]",
        "resize=64,crop=64x64,range=0-1,order=rgb", "names", make=network(names=("images", "output0"))),
    row("paddleocr-direction", "paddle2onnx", "PaddleOCR, the direction of a line", "x, save_infer_model/scale_0.tmp_1",
        "letterbox=48x192,fill=128,anchor=corner,range=0-1,mean=0.5,std=0.5,order=bgr", "names",
        make=network(size="H, W", bgr=True, names=("x", "save_infer_model/scale_0.tmp_1"))),
    row("keras-rescaling", "tf2onnx", "Keras models with a Rescaling layer", "the graph divides by 255",
        "range=0-255", "guess", warns="the graph normalises by itself",
        make=network(inside="z = Constant<value_float = 255.0> ()  y = Div(x, z)")),
    row("nothing-said", "torch.onnx.export", "most exports", "no metadata, no files",
        "mean=0.485/0.456/0.406", "guess", warns="the preprocessing is a guess"),
    row("baked-guess", "onnxcam", "files baked without a stated preprocessing", "onnxcam.baked with a guess",
        "resize=64x64,range=0-1", "guess", make=network(BAKED), warns="says that it was guessed"),
]  # fmt: skip
