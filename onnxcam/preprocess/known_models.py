"""Preprocessings of published models, recognised by the names and shapes of their inputs and outputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxcam.preprocess.parser import fields_of
from onnxcam.preprocess.tensor_spec import DEFAULT_SIZE, TensorSpec, shape_text

__all__ = ["KNOWN", "KnownModel", "known_model", "signature"]


@dataclass(frozen=True)
class KnownModel:
    """A published model, or a family of models.

    Attributes:
        name: Its name, for messages.
        pattern: A regular expression for its `signature`.
        preprocess: Its preprocessing, as `parse` reads it.
        strides: Its table of detections has a row for each cell of a grid of each stride; empty for other models.
        size: Height and width where the model leaves them open.
    """

    name: str
    pattern: str
    preprocess: str
    strides: tuple[int, ...] = ()
    size: tuple[int, int] = (DEFAULT_SIZE, DEFAULT_SIZE)

    def fits(self, text: str, tensor: TensorSpec) -> bool:
        """Return whether a model of signature *text* is one of these."""
        match = re.search(self.pattern, text)
        if match is None or not self.strides:
            return match is not None
        height, width = (side or 0 for side in tensor.size)
        return int(match["rows"]) == sum(-(-height // stride) * -(-width // stride) for stride in self.strides)


_RAW_ON_BLACK = "yolo,fill=0,range=0-255"
_UNIT_ON_BLACK = "yolo,fill=0"
_SIGNED_ON_BLACK = "yolo,fill=0,range=-1-1"
_TEXT_LINE = "letterbox={height}x{width},order=bgr,anchor=corner,fill=128,mean=0.5,std=0.5"
_NANODET = "unit,order=bgr,range=0-255,mean=103.53/116.28/123.675,std=57.375/57.12/58.395"
_PADDLE = r"(save_infer_model|softmax_|sigmoid_|fetch_name_)[^ ]*:"

KNOWN = (
    KnownModel("YuNet", r" cls_8:.* obj_8:.* bbox_8:.* kps_8:", f"{_RAW_ON_BLACK},order=bgr,anchor=corner"),
    KnownModel("YuNet of 2021", r" (?=.*\bloc:\S*x14\b)(?=.*\bconf:)(?=.*\biou:)", f"{_RAW_ON_BLACK},order=bgr"),
    KnownModel(
        "YOLOX", r"^images:\S* > output:\S*x(?P<rows>\d+)x\d+$",
        "yolo,range=0-255,order=bgr,anchor=corner", strides=(8, 16, 32),
    ),
    KnownModel("RT-DETR", r"^images:\S* > (?=.*\blabels:)(?=.*\bboxes:)(?=.*\bscores:)", "unit"),
    KnownModel(
        "Ultralytics' classifier", r"^images:\S* > output0:[^x ]+x\d+$", "resize={height},crop={height}x{width}"
    ),
    KnownModel("Ultralytics' YOLO", r"^images:\S* > ", "yolo"),
    KnownModel("YOLOv4", r"^input:\S* > boxes:\S*x1x4 confs:\S*", "unit"),
    KnownModel("Qualcomm's YOLO", r"^image:\S* > (?=.*\bboxes:)(?=.*\bscores:)(?=.*\bclass_idx:)", "yolo,fill=0"),
    KnownModel("FastestDet", r"^(input\.1|data):\S*x3x352x352 > \S+:\S*x85x22x22$", "unit,order=bgr"),
    KnownModel("OpenVINO's zoo", r"^(data|image|input\S*):\S*x3x\S* > detection_out\S*:1x1x\S+x7$", "raw,order=bgr"),
    KnownModel("NanoDet", r" (cls_pred_stride_8:.* dis_pred_stride_8:|output:\S+x\d+x112$)", _NANODET),
    KnownModel("SCRFD", r" score_8:.* bbox_8:", f"{_RAW_ON_BLACK},mean=127.5,std=128,anchor=corner"),
    KnownModel(
        "SCRFD", r"^input\.1:\S* > \d+:(\S*x)?\d+x1 \d+:(\S*x)?\d+x1 \d+:(\S*x)?\d+x1 \d+:(\S*x)?\d+x4 ",
        f"{_RAW_ON_BLACK},mean=127.5,std=128,anchor=corner",
    ),
    KnownModel("UltraFace", r"^input:\S* > scores:\S*x2 boxes:\S*x4$", "unit,range=0-255,mean=127,std=128"),
    KnownModel(
        "RetinaFace", r"^input0?:\S* > \S+x4 \S+x(2 \S+x10|10 \S+x2)$",
        "unit,order=bgr,range=0-255,mean=104/117/123",
    ),
    KnownModel("ArcFace", r"^(data|input\.1|input):\S*x3x112x112 > \S+:\S*x512$", "unit,range=-1-1"),
    KnownModel("FaceNet", r"^\S+:\S*(3x160x160|160x160x3) > \S+:\S*x(128|512)$", "unit,range=-1-1"),
    KnownModel("the zoo of OpenCV: expressions", r"^data:\S*x3x112x112 > label:\S*x7$", "unit,range=-1-1"),
    KnownModel("CRNN", r"^\S+:\S*x1x32x100 > \S+x37$", "unit,range=-1-1"),
    KnownModel("PP-HumanSeg", rf"^x:\S*x3x192x192 > {_PADDLE}\S*x2x192x192$", "unit,range=-1-1"),
    KnownModel(
        "PaddleOCR: recognition", rf"^x:\S*x3x(48|32)x\S* > {_PADDLE}[^x]+x[^x]+x\d+$", _TEXT_LINE, size=(48, 320)
    ),
    KnownModel("PaddleOCR: direction", rf"^x:\S*x3x(\D|48x192)\S* > {_PADDLE}\S*x2$", _TEXT_LINE, size=(48, 192)),
    KnownModel(
        "PaddleOCR: detection", rf"^x:\S*x3x\S* > {_PADDLE}\S*x1x[^x]+x[^x]+$",
        "unit,order=bgr,mean=0.485/0.456/0.406,std=0.229/0.224/0.225",
    ),
    KnownModel("MediaPipe: palms", r"^\S*192x192\S* > .*x2016x18\b", _UNIT_ON_BLACK),
    KnownModel("MediaPipe: palms", r"^\S*(256x256|128x128)\S* > .*x(2944|896)x18\b", _SIGNED_ON_BLACK),
    KnownModel("MediaPipe: faces", r"^\S*(128x128|192x192|256x256)\S* > .*x(896|2304)x16\b", _SIGNED_ON_BLACK),
    KnownModel("MediaPipe: persons", r"^\S*(224x224|128x128)\S* > .*x(2254|896)x12\b", _SIGNED_ON_BLACK),
    KnownModel("MediaPipe: hand landmarks", r"^\S*(224x224|256x256)\S* > (.* )?\S+:\S*x63\b", "unit"),
    KnownModel("MediaPipe: face landmarks", r"^\S*(192x192|256x256)\S* > (.* )?\S+:\S*x(1404|1434)\b", "unit"),
    KnownModel("MediaPipe: iris", r"^\S*64x64\S* > (.* )?\S+:\S*x213\b", "unit"),
    KnownModel("MediaPipe: pose landmarks", r"^\S*256x256\S* > (.* )?\S+:\S*x195\b", "unit"),
    KnownModel("MediaPipe: selfie segmentation", r"^\S*x256x3 > (activation_10|segment_back)\S*x1$", "unit"),
    KnownModel("Caffe", r"^data(_0)?:\S*x3x\d+x\d+ > (prob|prob_1|softmaxout_1):\S*x1000\S*$", "caffe"),
    KnownModel("CNTK", r"^Input3:\S*x1x\S* > Plus\d+_Output_0:", "raw"),
    KnownModel(
        "Faster R-CNN and Mask R-CNN of the ONNX zoo", r"^image:\S*x3x\S* > (6379|6568):\S*x4 ",
        "resize=800,longest=1333,order=bgr,range=0-255,mean=102.9801/115.9465/122.7717",
    ),
)  # fmt: skip
"""The first that fits counts."""


def known_model(tensor: TensorSpec, value: ir.Value) -> tuple[dict[str, Any], str] | None:
    """Return the fields for `parser.build` and the name of the published model with this image input; else None."""
    text = signature(tensor, value)
    for model in KNOWN:
        if model.fits(text, tensor):
            height, width = (have or usual for have, usual in zip(tensor.size, model.size, strict=True))
            return fields_of(model.preprocess.format(height=height, width=width)), model.name
    return None


def signature(tensor: TensorSpec, value: ir.Value) -> str:
    """Return the image input and the outputs as text: ``images:1x3x640x640 > output0:1x84x8400``."""
    outputs = () if value.graph is None else value.graph.outputs
    return f"{tensor.name}:{shape_text(tensor.shape)} > " + " ".join(map(_told, outputs))


def _told(value: ir.Value) -> str:
    shape = [] if value.shape is None else [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    return f"{value.name}:{shape_text(tuple(None if isinstance(dim, int) and dim < 1 else dim for dim in shape))}"
