"""Conventions of classifiers and of vectors that are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

import onnx
import pytest
from onnx import helper

from onnxcam import Explainer, Explanation
from tests.zoo.convention import Convention
from tests.zoo.trunk import BRIGHT, INPUT, vector

__all__ = ["CONVENTIONS"]

Check = Callable[[Explainer, Explanation], None]
UNUSED = "int64[1] unused = {0}"
NAMES = ["paper", "glass", "metal", "wood", "lamp", "cloth"]


def is_class(index: int, probability: Callable[[float], bool] | None = None, label: str | None = None) -> Check:
    """Return a test that the default target is class *index*, with its label and a *probability* in 0 to 1."""

    def check(explainer: Explainer, found: Explanation) -> None:
        assert found.target == index
        assert found.label == label
        assert found.probability is not None
        assert 0 <= found.probability <= 1
        assert probability is None or probability(found.probability), found.probability

    return check


def is_softmax(output: str, index: int = BRIGHT) -> Check:
    """Return a test that the probability of class *index* is the largest number of *output*, not a function of it."""

    def check(explainer: Explainer, found: Explanation) -> None:
        is_class(index)(explainer, found)
        assert found.probability == pytest.approx(float(found.outputs[output].max()), abs=1e-5)

    return check


def is_no_class(explainer: Explainer, found: Explanation) -> None:
    """Test that nothing is called a class or a probability."""
    assert found.target is None
    assert found.probability is None
    assert "no class" in found.note


def zipmap() -> onnx.ModelProto:
    """Return a classifier whose scores are a dictionary and whose class is a string."""
    model = vector(
        "s = Softmax(z)",
        "float[N, 6] s",
        producer="CustomVision",
        image="float[1, 3, 64, 64] data",
        imports='"": 18, "ai.onnx.ml": 3',
    )
    names = onnx.helper.make_tensor("names", onnx.TensorProto.STRING, [6], [name.encode() for name in NAMES])
    graph = model.graph
    graph.initializer.append(names)
    graph.node.extend(
        [
            helper.make_node("ArgMax", ["s"], ["best"], axis=1, keepdims=0),
            helper.make_node("ArrayFeatureExtractor", ["names", "best"], ["classLabel"], domain="ai.onnx.ml"),
            helper.make_node("ZipMap", ["s"], ["loss"], domain="ai.onnx.ml", classlabels_strings=NAMES),
        ]
    )
    del graph.output[:]
    of = helper.make_sequence_type_proto(
        helper.make_map_type_proto(onnx.TensorProto.STRING, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, []))
    )
    graph.output.extend(
        [
            helper.make_tensor_value_info("classLabel", onnx.TensorProto.STRING, [1, 1]),
            helper.make_value_info("loss", of),
        ]
    )
    return model


def _with_strings(image: str, tail: str, outputs: str, *nodes: onnx.NodeProto) -> Callable[[], onnx.ModelProto]:
    """Return a maker of a classifier with `NAMES` as a table of strings, ``names``, and more *nodes*."""

    def make() -> onnx.ModelProto:
        model = vector(tail, outputs, image=image, imports='"": 18, "ai.onnx.ml": 3')
        table = onnx.helper.make_tensor("names", onnx.TensorProto.STRING, [6], [name.encode() for name in NAMES])
        model.graph.initializer.append(table)
        model.graph.node.extend(nodes)
        return model

    return make


def held(operator: str) -> onnx.ModelProto:
    """Return a classifier whose output is a sequence or an optional of its softmax."""
    model = vector("s = Softmax(z)", "float[N, 6] s")
    model.graph.node.append(helper.make_node(operator, ["s"], ["output"]))
    tensor = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
    wrap = helper.make_optional_type_proto if operator == "Optional" else helper.make_sequence_type_proto
    del model.graph.output[:]
    model.graph.output.append(helper.make_value_info("output", wrap(tensor)))
    return model


def int_map() -> onnx.ModelProto:
    """Return a classifier whose scores are a dictionary from angles to scores."""
    model = zipmap()
    angles = [0, 60, 120, 180, 240, 300]
    del model.graph.node[-1].attribute[:]
    model.graph.node[-1].attribute.append(helper.make_attribute("classlabels_int64s", angles))
    model.graph.node.remove(model.graph.node[-2])
    model.graph.output.remove(model.graph.output[0])
    model.graph.output[0].type.sequence_type.elem_type.map_type.key_type = onnx.TensorProto.INT64
    return model


def _row(
    name: str,
    producer: str,
    users: str,
    signature: str,
    tail: str,
    outputs: str,
    check: Check,
    *,
    task: str = "a classifier",
    parts: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    image: str = INPUT,
    extra: str = UNUSED,
    warns: str = "",
) -> Convention:
    make = partial(vector, tail, outputs, image=image, metadata=metadata, producer=producer.split()[0], extra=extra)
    return Convention(name, producer, users, signature, make, task, parts or {}, files or {}, check=check, warns=warns)


CONVENTIONS = [
    _row(
        "torchvision",
        "torch.onnx.export",
        "classifiers of torchvision, timm",
        "output [N, classes], logits",
        "output = Identity(z)",
        "float[N, 6] output",
        is_class(BRIGHT),
    ),
    _row(
        "keras-predictions",
        "tf2onnx",
        "keras.applications",
        "predictions [N, classes], softmax; input NHWC",
        "predictions = Softmax(z)",
        "float[N, 6] predictions",
        is_softmax("predictions"),
        image="float[N, 64, 64, 3] input",
    ),
    _row(
        "zoo-four-axes",
        "onnx-caffe2",
        "SqueezeNet of the ONNX model zoo",
        "softmaxout_1 [N, classes, 1, 1], softmax behind a reshape",
        "w = Reshape(z, whole) softmaxout_1 = Softmax<axis = 1>(w)",
        "float[N, 6, 1, 1] softmaxout_1",
        is_softmax("softmaxout_1"),
    ),
    _row(
        "huggingface-image-classification",
        "optimum",
        "ViTForImageClassification and kin",
        "logits [N, labels]; config.json with id2label",
        "logits = Identity(z)",
        "float[N, 6] logits",
        is_class(BRIGHT, label="lamp"),
        files={"config.json": json.dumps({"id2label": dict(enumerate(NAMES))})},
        image=INPUT.replace("input", "pixel_values"),
        parts={"scores": "'logits'"},
    ),
    _row(
        "ultralytics-cls",
        "Ultralytics 8",
        "YOLOv8-cls, YOLO11-cls",
        "output0 [N, names], softmax; metadata task=classify, names",
        "output0 = Softmax(z)",
        "float[N, 6] output0",
        is_class(BRIGHT, label="lamp"),
        metadata={"task": "classify", "names": str(dict(enumerate(NAMES))), "imgsz": "[64, 64]"},
        image=INPUT.replace("input", "images"),
    ),
    _row(
        "topk",
        "PyTorch, in forward()",
        "classifiers for phones and edge devices",
        "scores [N, 5], indices [N, 5]: TopK of softmax",
        "prob = Softmax(z) scores, indices = TopK(prob, five)",
        "float[N, 5] scores, int64[N, 5] indices",
        is_softmax("scores"),
        parts={"scores": "'prob', 6 probabilities, behind 'scores' and 'indices'"},
    ),
    _row(
        "argmax",
        "PyTorch, in forward()",
        "classifiers for NPUs",
        "label [N]: ArgMax of the logits",
        "label = ArgMax<axis = 1, keepdims = 0>(z)",
        "int64[N] label",
        is_class(BRIGHT),
        parts={"scores": "'z'"},
    ),
    _row(
        "max-and-argmax",
        "tf2onnx",
        "classifiers of signature `serving_default`",
        "confidence [N], class_id [N]",
        "s = Softmax(z) confidence = ReduceMax<keepdims = 0>(s, axis) class_id = ArgMax<axis = 1, keepdims = 0>(s)",
        "float[N] confidence, int64[N] class_id",
        is_softmax("confidence"),
    ),
    _row(
        "exp-over-sum",
        "CNTK 2",
        "networks with a softmax of their own",
        "output [N, classes]: exp / Σ exp",
        "m = ReduceMax(z, axis) d = Sub(z, m) e = Exp(d) s = ReduceSum(e, axis) output = Div(e, s)",
        "float[N, 6] output",
        is_softmax("output"),
    ),
    _row(
        "softmax-twice",
        "PyTorch, in forward()",
        "a softmax added to a model that has one",
        "output [N, classes]",
        "s = Softmax(z) output = Softmax(s)",
        "float[N, 6] output",
        is_softmax("output"),
    ),
    _row(
        "ensemble",
        "PyTorch, in forward()",
        "the mean of two networks",
        "output [N, classes]: (softmax + softmax) / 2",
        "s = Softmax(z) n = Add(z, b) m = Softmax(n) y = Add(s, m) output = Mul(y, half)",
        "float[N, 6] output",
        is_softmax("output"),
        parts={"scores": "6 probabilities"},
    ),
    _row(
        "complement",
        "ML.NET",
        "binary classifiers with two columns",
        "output [N, 2]: [1 − p, p] of a sigmoid p",
        "w = Gemm<transB = 1>(v, g) q = Sigmoid(w) n = Sub(one, q) output = Concat<axis = 1>(n, q)",
        "float[N, 2] output",
        is_class(1, lambda p: p >= 0.5),
    ),
    _row(
        "one-sigmoid-two-names",
        "tf2onnx",
        "binary classifiers of Keras: Dense(1, sigmoid)",
        "dense_1 [N, 1]; two class names",
        "w = Gemm<transB = 1>(v, g) dense_1 = Sigmoid(w)",
        "float[N, 1] dense_1",
        is_class(1, lambda p: p >= 0.5, "lit"),
        files={"config.json": json.dumps({"id2label": {"0": "dark", "1": "lit"}})},
        image="float[N, 64, 64, 3] input",
    ),
    _row(
        "log-softmax",
        "torch.onnx.export",
        "examples of PyTorch (MNIST)",
        "output [N, classes], log softmax",
        "output = LogSoftmax(z)",
        "float[N, 6] output",
        is_class(BRIGHT, lambda p: p > 1 / 6),
    ),
    _row(
        "tagger",
        "tf2onnx",
        "multi-label taggers (WD14, Danbooru)",
        "predictions_sigmoid [N, tags]; input NHWC",
        "predictions_sigmoid = Sigmoid(z)",
        "float[N, 6] predictions_sigmoid",
        is_softmax("predictions_sigmoid"),
        image="float[N, 64, 64, 3] input",
    ),
    _row(
        "logits-and-features",
        "torch.onnx.export",
        "classifiers that also put out their features",
        "features [N, D], logits [N, classes]",
        "features = Identity(v) logits = Identity(z)",
        "float[N, 2] features, float[N, 6] logits",
        is_class(BRIGHT),
        parts={"scores": "'logits', 6 scores; not 'features'"},
    ),
    _row(
        "box-beside-softmax",
        "caffe2onnx",
        "MTCNN's R-Net and O-Net",
        "conv5-2 [N, 4], prob1 [N, 2]",
        "o = Concat<axis = 1>(v, v) box = Identity(o) n = Gather<axis = 1>(z, twice) prob1 = Softmax(n)",
        "float[N, 4] box, float[N, 2] prob1",
        is_class(1),
        parts={"scores": "'prob1'"},
    ),
    _row(
        "age",
        "torch.onnx.export",
        "age of a face",
        "age [N, 1], years",
        "age = Gemm<transB = 1>(v, g)",
        "float[N, 1] age",
        is_no_class,
        task="a regression",
        parts={"numbers": "'age', 1"},
    ),
    _row(
        "one-number",
        "torch.onnx.export",
        "image quality, steering angle",
        "output [N, 1] without a sigmoid",
        "output = Gemm<transB = 1>(v, g)",
        "float[N, 1] output",
        is_no_class,
        task="a regression",
    ),
    _row(
        "percent",
        "PyTorch, in forward()",
        "classifiers that show percentages",
        "output [N, classes]: softmax times 100",
        "s = Softmax(z) output = Mul(s, hundred)",
        "float[N, 6] output",
        is_class(BRIGHT, lambda p: 0.5 < p < 0.999),
        parts={"scores": "6 probabilities"},
        extra="float hundred = {100}",
    ),
    _row(
        "bytes-of-255",
        "scripts for microcontrollers",
        "classifiers whose softmax is written into bytes",
        "output uint8 [N, classes]: Cast of softmax times 255",
        "s = Softmax(z) m = Mul(s, most) output = Cast<to = 2>(m)",
        "uint8[N, 6] output",
        is_class(BRIGHT, lambda p: 0.5 < p < 0.999),
        parts={"scores": "6 probabilities"},
        extra="float most = {255}",
    ),
    _row(
        "topk-of-percent",
        "PyTorch, in forward()",
        "the five best classes in percent",
        "scores [N, 5], indices [N, 5]: TopK of softmax times 100",
        "s = Softmax(z) m = Mul(s, hundred) scores, indices = TopK(m, five)",
        "float[N, 5] scores, int64[N, 5] indices",
        is_class(BRIGHT, lambda p: 0.5 < p < 0.999),
        parts={"scores": "'m', 6 probabilities"},
        extra="float hundred = {100}",
    ),
    _row(
        "binary-threshold",
        "PyTorch, in forward()",
        "binary classifiers that put out a decision",
        "label int64 [N, 1]: sigmoid > 0.5",
        "w = Gemm<transB = 1>(v, g) s = Sigmoid(w) m = Greater(s, half) label = Cast<to = 7>(m)",
        "int64[N, 1] label",
        is_class(0, lambda p: p > 0.5),
        parts={"scores": "'s', 1 number, behind 'label'"},
    ),
    _row(
        "tags-above-threshold",
        "PyTorch, in forward()",
        "multi-label taggers that put out decisions",
        "tags bool [N, tags]: sigmoid > 0.5",
        "s = Sigmoid(z) tags = Greater(s, half)",
        "bool[N, 6] tags",
        is_class(BRIGHT, lambda p: p > 0.5),
        parts={"scores": "'s', 6 probabilities, behind 'tags'"},
    ),
    _row(
        "class-beside-confidence",
        "PyTorch, in forward()",
        "classifiers for embedded runtimes",
        "output [N, 2]: the class and its probability, joined",
        "s = Softmax(z) m = ReduceMax(s, axis) i = ArgMax<axis = 1, keepdims = 1>(s) w = Cast<to = 1>(i) "
        "output = Concat<axis = 1>(w, m)",
        "float[N, 2] output",
        is_class(BRIGHT),
        parts={"scores": "'s', 6 probabilities, behind 'output'"},
    ),
    _row(
        "logits-beside-sigmoid",
        "PyTorch, in forward()",
        "multi-label classifiers for training and inference",
        "logits [N, tags], probabilities [N, tags]: sigmoid of logits",
        "logits = Identity(z) probabilities = Sigmoid(z)",
        "float[N, 6] logits, float[N, 6] probabilities",
        is_softmax("probabilities"),
        parts={"scores": "'probabilities'"},
    ),
    _row(
        "steering-tanh",
        "PyTorch, in forward()",
        "steering of toy cars, a value from −1 to 1",
        "output [N, 1] behind Tanh",
        "w = Gemm<transB = 1>(v, g) output = Tanh(w)",
        "float[N, 1] output",
        is_no_class,
        task="a regression",
    ),
    _row(
        "classes-in-another-order",
        "PyTorch, in forward()",
        "classes sorted by name behind the softmax",
        "output [N, classes]: Gather of softmax",
        "s = Softmax(z) output = Gather<axis = 1>(s, order)",
        "float[N, 6] output",
        is_softmax("output", 1),
        parts={"scores": "6 probabilities"},
        extra="int64[6] order = {5, 4, 3, 2, 1, 0}",
    ),
    _row(
        "softmax-over-one-element",
        "PyTorch, in forward()",
        "a softmax over a wrong axis",
        "output [N, classes, 1, 1]: softmax over the last axis",
        "w = Reshape(z, whole) output = Softmax<axis = 3>(w)",
        "float[N, 6, 1, 1] output",
        is_class(BRIGHT),
        warns="the model's softmax does not run over its classes",
    ),
    _row(
        "squeezed-scores",
        "torch.onnx.export",
        "model(x).squeeze() of one image",
        "output [classes], softmax; input [1, 3, H, W]",
        "s = Softmax(z) output = Squeeze(s)",
        "float[6] output",
        is_softmax("output"),
        image="float[1, 3, 64, 64] input",
    ),
    _row(
        "squeezed-best",
        "torch.onnx.export",
        "label and score of one image",
        "label, score: two numbers; input [1, 3, H, W]",
        "p6 = Softmax(z) s = Squeeze(p6) label = ArgMax<axis = 0, keepdims = 0>(s) score = ReduceMax<keepdims = 0>(s)",
        "int64 label, float score",
        is_softmax("score"),
        parts={"scores": "'p6', 6 probabilities, behind 'label' and 'score'"},
        image="float[1, 3, 64, 64] input",
    ),
    _row(
        "squeezed-sigmoid",
        "torch.onnx.export",
        "binary classifiers of one image",
        "output: one number; input [1, 3, H, W]",
        "w = Gemm<transB = 1>(v, g) s = Sigmoid(w) output = Squeeze(s)",
        "float output",
        is_class(0, lambda p: p > 0.5),
        image="float[1, 3, 64, 64] input",
    ),
    _row(
        "teachable-machine",
        "tf2onnx",
        "Teachable Machine of Google",
        "sequential_3 [N, classes], softmax; labels.txt: 0 paper",
        "sequential_3 = Softmax(z)",
        "float[N, 6] sequential_3",
        is_class(BRIGHT, label="lamp"),
        files={"labels.txt": "".join(f"{number} {name}\n" for number, name in enumerate(NAMES))},
        parts={"labels": "6 names"},
        image="float[N, 64, 64, 3] sequential_1_input",
    ),
    _row(
        "lobe",
        "tf2onnx",
        "Lobe of Microsoft",
        "Confidences [N, classes]; signature.json: classes, Label",
        "Confidences = Softmax(z)",
        "float[N, 6] Confidences",
        is_class(BRIGHT, label="lamp"),
        files={"signature.json": json.dumps({"doc_id": "1", "classes": {"Label": NAMES}, "inputs": {"Image": {}}})},
        image="float[N, 64, 64, 3] Image",
    ),
    _row(
        "wd14-tags",
        "tf2onnx",
        "WD14 taggers with their table of tags",
        "predictions_sigmoid [N, tags]; selected_tags.csv",
        "predictions_sigmoid = Sigmoid(z)",
        "float[N, 6] predictions_sigmoid",
        is_class(BRIGHT, label="lamp"),
        files={"selected_tags.csv": "tag_id,name,category,count\n" + "".join(f"9,{name},0,5\n" for name in NAMES)},
        image="float[N, 64, 64, 3] input_1",
    ),
    _row(
        "paddleclas-names",
        "paddle2onnx",
        "PaddleClas with the configuration of PaddleX",
        "softmax [N, classes]; inference.yml: PostProcess, Topk, label_list",
        "fetch_name_0 = Softmax(z)",
        "float[N, 6] fetch_name_0",
        is_class(BRIGHT, label="lamp"),
        files={"inference.yml": "PostProcess:\n  Topk:\n    label_list:\n" + "".join(f"    - {n}\n" for n in NAMES)},
    ),
    _row(
        "keras-class-indices",
        "tf2onnx",
        "Keras's flow_from_directory",
        "dense [N, classes], softmax; class_indices.json: name to index",
        "dense = Softmax(z)",
        "float[N, 6] dense",
        is_class(BRIGHT, label="lamp"),
        files={"class_indices.json": json.dumps({name: number for number, name in enumerate(NAMES)})},
        image="float[N, 64, 64, 3] input",
    ),
    _row(
        "names-in-metadata",
        "scripts around onnx",
        "classifiers of their own",
        "output [N, classes]; metadata: class_names",
        "output = Softmax(z)",
        "float[N, 6] output",
        is_class(BRIGHT, label="lamp"),
        metadata={"class_names": ",".join(NAMES)},
    ),
    _row(
        "huggingface-multi-label",
        "optimum",
        "taggers of transformers",
        "logits [N, labels]; config.json with problem_type multi_label_classification",
        "logits = Identity(z)",
        "float[N, 6] logits",
        is_class(BRIGHT, lambda p: p > 0.95, "lamp"),
        files={
            "config.json": json.dumps(
                {"id2label": dict(enumerate(NAMES)), "problem_type": "multi_label_classification"}
            )
        },
        image=INPUT.replace("input", "pixel_values"),
    ),
    Convention(
        "custom-vision",
        "Azure Custom Vision",
        "its ONNX exports",
        "classLabel (strings), loss (a sequence of maps)",
        zipmap,
        "a classifier",
        {"scores": "'s', 6 probabilities"},
        check=is_class(BRIGHT, label="lamp"),
    ),
    Convention(
        "lobe-label",
        "tf2onnx",
        "Lobe of Microsoft, with its table of labels inside",
        "Label (strings), Confidences [N, classes]: Gather of a table of strings",
        _with_strings(
            "float[N, 64, 64, 3] Image",
            "Confidences = Softmax(z) i = ArgMax<axis = 1, keepdims = 0>(Confidences)",
            "string[N] Label, float[N, 6] Confidences, int64[N] i",
            helper.make_node("Gather", ["names", "i"], ["Label"]),
        ),
        "a classifier",
        {"scores": "'Confidences', 6 probabilities", "labels": "'paper' to 'cloth'"},
        check=is_class(BRIGHT, label="lamp"),
    ),
    Convention(
        "mlnet-label-encoder",
        "ML.NET",
        "its image classification: KeyToValue",
        "PredictedLabel.output (strings), Score.output [N, classes]: LabelEncoder",
        _with_strings(
            "float[N, 3, 64, 64] input",
            "score = Softmax(z) i = ArgMax<axis = 1, keepdims = 1>(score)",
            "string[N, 1] predicted, float[N, 6] score, int64[N, 1] i",
            helper.make_node(
                "LabelEncoder",
                ["i"],
                ["predicted"],
                domain="ai.onnx.ml",
                keys_int64s=[5, 4, 3, 2, 1, 0],
                values_strings=NAMES[::-1],
            ),
        ),
        "a classifier",
        {"scores": "'score', 6 probabilities", "labels": "'paper' to 'cloth'"},
        check=is_class(BRIGHT, label="lamp"),
    ),
    Convention(
        "zipmap-of-integers",
        "skl2onnx, tf2onnx",
        "classes that are numbers, such as angles",
        "output: a sequence of maps from int64 to scores",
        int_map,
        "a classifier",
        {"scores": "'s', 6 probabilities", "labels": "'0' to '300'"},
        check=is_class(BRIGHT, label="240"),
    ),
    Convention(
        "sequence-of-scores",
        "PyTorch, a list as output",
        "models whose forward() returns a list",
        "output: a sequence with the softmax",
        partial(held, "SequenceConstruct"),
        "a classifier",
        {"scores": "'s', 6 probabilities"},
        check=is_class(BRIGHT),
    ),
    Convention(
        "optional-scores",
        "PyTorch, Optional as output",
        "scripted models",
        "output: an optional of the softmax",
        partial(held, "Optional"),
        "a classifier",
        {"scores": "'s', 6 probabilities"},
        check=is_class(BRIGHT),
    ),
]
