"""Published models whose preprocessing their inputs and outputs tell."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxcam.preprocess import TensorSpec, resolve
from onnxcam.preprocess.known_models import KNOWN, known_model

IMAGENET = "mean=0.485/0.456/0.406"
MODELS = [
    # name, input, outputs, part of the preprocessing
    ("YuNet", "input:1x3x640x640", "cls_8:1x6400x1 obj_8:1x6400x1 bbox_8:1x6400x4 kps_8:1x6400x10",
     "range=0-255,order=bgr"),
    ("YuNet of 2021", "input:1x3x120x160", "conf:1076x2 iou:1076x1 loc:1076x14", "range=0-255,order=bgr"),
    ("YuNet of 2021", "input:1x3x240x320", "loc:4385x14 conf:4385x2 iou:4385x1", "range=0-255,order=bgr"),
    ("YOLOX", "images:1x3x640x640", "output:1x8400x85", "letterbox=640x640,anchor=corner,range=0-255,order=bgr"),
    ("YOLOX", "images:Nx3x416x416", "output:Nx3549x85", "letterbox=416x416,anchor=corner,range=0-255,order=bgr"),
    ("Ultralytics' YOLO", "images:1x3x640x640", "output:1x25200x85", "letterbox=640x640,range=0-1,order=rgb"),
    ("Ultralytics' YOLO", "images:1x3x640x640", "output0:1x84x8400", "letterbox=640x640,range=0-1,order=rgb"),
    ("Ultralytics' YOLO", "images:1x3x640x640", "outputs:1x8400x85", "letterbox=640x640,range=0-1,order=rgb"),
    ("Ultralytics' classifier", "images:1x3x224x224", "output0:1x1000", "resize=224,crop=224x224,range=0-1,order=rgb"),
    ("RT-DETR", "images:Nx3x640x640", "labels:Nx300 boxes:Nx300x4 scores:Nx300", "resize=640x640,range=0-1,order=rgb"),
    ("YOLOv4", "input:1x3x416x416", "boxes:1x10647x1x4 confs:1x10647x80", "resize=416x416,range=0-1,order=rgb"),
    ("Qualcomm's YOLO", "image:1x3x640x640", "boxes:1x8400x4 scores:1x8400 class_idx:1x8400",
     "letterbox=640x640,fill=0,range=0-1,order=rgb"),
    ("FastestDet", "input.1:1x3x352x352", "758:1x85x22x22", "resize=352x352,range=0-1,order=bgr"),
    ("OpenVINO's zoo", "data:1x3x300x300", "detection_out:1x1x200x7", "resize=300x300,range=0-255,order=bgr"),
    ("NanoDet", "data:1x3x320x320", "output:1x2125x112",
     "mean=103.53/116.28/123.675,std=57.375/57.12/58.395,order=bgr"),
    ("NanoDet", "input.1:1x3x320x320", "cls_pred_stride_8:1x1600x80 cls_pred_stride_16:1x400x80 "
     "dis_pred_stride_8:1x1600x32 dis_pred_stride_16:1x400x32", "mean=103.53/116.28/123.675"),
    ("SCRFD", "input.1:1x3x640x640", "score_8:12800x1 score_16:3200x1 bbox_8:12800x4 kps_8:12800x10",
     "mean=127.5,std=128,order=rgb"),
    ("SCRFD", "input.1:1x3x?x?", "448:12800x1 471:3200x1 494:800x1 451:12800x4 474:3200x4 497:800x4",
     "mean=127.5,std=128,order=rgb"),
    ("UltraFace", "input:1x3x480x640", "scores:1x17640x2 boxes:1x17640x4", "mean=127,std=128,order=rgb"),
    ("RetinaFace", "input0:1x3x640x640", "output0:1x16800x4 590:1x16800x2 591:1x16800x10",
     "mean=104/117/123,std=1,order=bgr"),
    ("ArcFace", "input.1:Nx3x112x112", "683:1x512", "resize=112x112,range=-1-1,order=rgb"),
    ("FaceNet", "input:Nx3x160x160", "output:Nx512", "resize=160x160,range=-1-1,order=rgb"),
    ("the zoo of OpenCV: expressions", "data:1x3x112x112", "label:1x7", "resize=112x112,range=-1-1,order=rgb"),
    ("CRNN", "input:1x1x32x100", "output:24x1x37", "range=-1-1,order=gray"),
    ("PP-HumanSeg", "x:1x3x192x192", "save_infer_model/scale_0.tmp_1:1x2x192x192", "range=-1-1,order=rgb"),
    ("PaddleOCR: recognition", "x:?x3x48x?", "softmax_11.tmp_0:?x?x6625",
     "letterbox=48x320,fill=128,anchor=corner,range=0-1,mean=0.5,std=0.5,order=bgr"),
    ("PaddleOCR: recognition", "x:1x3x32x100", "save_infer_model/scale_0.tmp_1:1x25x97", "letterbox=32x100"),
    ("PaddleOCR: direction", "x:?x3x?x?", "save_infer_model/scale_0.tmp_1:?x2", "letterbox=48x192"),
    ("PaddleOCR: detection", "x:?x3x?x?", "sigmoid_0.tmp_0:?x1x?x?",
     f"range=0-1,{IMAGENET},std=0.229/0.224/0.225,order=bgr"),
    ("MediaPipe: palms", "input_1:1x192x192x3", "Identity:1x2016x18 Identity_1:1x2016x1",
     "letterbox=192x192,fill=0,range=0-1,order=rgb,layout=nhwc"),
    ("MediaPipe: palms", "input:1x3x192x192", "regressors:1x2016x18 classificators:1x2016x1",
     "letterbox=192x192,fill=0,range=0-1,order=rgb,layout=nchw"),
    ("MediaPipe: faces", "input:1x128x128x3", "regressors:1x896x16 classificators:1x896x1", "range=-1-1,order=rgb"),
    ("MediaPipe: persons", "input_1:1x224x224x3", "Identity:1x2254x12 Identity_1:1x2254x1", "range=-1-1,order=rgb"),
    ("MediaPipe: hand landmarks", "input_1:1x224x224x3", "Identity:1x63 Identity_1:1x1 Identity_2:1x1 Identity_3:1x63",
     "resize=224x224,range=0-1,order=rgb"),
    ("MediaPipe: face landmarks", "input_1:1x192x192x3", "conv2d_21:1x1x1x1404 conv2d_31:1x1x1x1", "range=0-1"),
    ("MediaPipe: iris", "input_1:1x64x64x3", "output_eyes_contours_and_brows:1x213 output_iris:1x15", "range=0-1"),
    ("MediaPipe: pose landmarks", "input_1:1x256x256x3", "Identity:1x195 Identity_1:1x1 Identity_2:1x256x256x1",
     "range=0-1"),
    ("MediaPipe: selfie segmentation", "input_1:1x256x256x3", "activation_10:1x256x256x1", "range=0-1"),
    ("Caffe", "data_0:1x3x224x224", "prob_1:1x1000", "mean=104/117/123,std=1,order=bgr"),
    ("Caffe", "data:1x3x227x227", "prob:1x1000x1x1", "mean=104/117/123,std=1,order=bgr"),
    ("CNTK", "Input3:1x1x64x64", "Plus692_Output_0:1x8", "range=0-255,order=gray"),
    ("Faster R-CNN and Mask R-CNN of the ONNX zoo", "image:1x3x?x?", "6379:?x4 6381:? 6383:?",
     "longest=1333,range=0-255,mean=102.9801/115.9465/122.7717"),
]  # fmt: skip
OTHERS = [
    ("input:Nx3x224x224", "output:Nx1000"),
    ("x:1x3x32x32", "save_infer_model/scale_0.tmp_1:1x10"),
    ("data:1x3x224x224", "fc1:1x1000"),
    ("input0:1x3x112x112", "output0:1x128"),
    ("pixel_values:Nx3xHxW", "logits:Nx1000"),
    ("input:1x3x256x256", "output:1x1x256x256"),
    ("input:1x3x320x320", "score_8:1 bias:1"),
]
"""Models that none of the names fits."""


def value(told: str) -> ir.Value:
    name, shape = told.split(":")
    dims = [int(dim) if dim.isdigit() else None if dim == "?" else dim for dim in shape.split("x")]
    return ir.Value(name=name, shape=ir.Shape(dims), type=ir.TensorType(ir.DataType.FLOAT))


def image(told: str, outputs: str) -> ir.Value:
    """Return the input of a graph without nodes."""
    made = value(told)
    ir.Graph([made], [value(each) for each in outputs.split()], nodes=[])
    return made


@pytest.mark.parametrize(("name", "told", "outputs", "expected"), MODELS)
def test_a_published_model_is_recognised(name: str, told: str, outputs: str, expected: str) -> None:
    x = image(told, outputs)
    found = resolve(None, TensorSpec.of(x), graph_hint=x)
    assert (found.source, found.why) == ("names", f"the inputs and outputs are those of {name}")
    assert expected in str(found.preprocess)
    assert found.warnings == ()


@pytest.mark.parametrize(("told", "outputs"), OTHERS)
def test_other_names_are_no_evidence(told: str, outputs: str) -> None:
    x = image(told, outputs)
    assert known_model(TensorSpec.of(x), x) is None
    assert resolve(None, TensorSpec.of(x), graph_hint=x).source == "guess"


def test_each_model_has_a_case() -> None:
    assert {model.name for model in KNOWN} == {name for name, *_ in MODELS}
