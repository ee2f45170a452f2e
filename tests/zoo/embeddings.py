"""Conventions of embeddings: vectors of features, by which pictures are compared."""

from __future__ import annotations

from functools import partial

from onnxcam import Explainer, Explanation
from tests.zoo.convention import Convention
from tests.zoo.trunk import INPUT, vector

__all__ = ["CONVENTIONS"]

UNUSED = "int64[1] unused = {0}"
PIXELS = INPUT.replace("input", "pixel_values")
TOKENS = "q = Reshape(p, tokens) h = Transpose<perm = [0, 2, 1]>(q)"


def is_embedding(explainer: Explainer, found: Explanation) -> None:
    """Test that nothing is called a class, and that pictures can be compared."""
    assert found.target is None
    assert found.probability is None
    assert "like=FILE" in found.note


def _row(
    name: str,
    producer: str,
    users: str,
    signature: str,
    tail: str,
    outputs: str,
    output: str,
    image: str = INPUT,
    extra: str = UNUSED,
) -> Convention:
    make = partial(vector, tail, outputs, image=image, producer=producer.split()[0], extra=extra)
    return Convention(
        name,
        producer,
        users,
        signature,
        make,
        "an embedding",
        {"embedding": repr(output)},
        square=None,
        check=is_embedding,
    )


NORM = "float[6] scale = {1, 1, 1, 1, 1, 1}, float[6] shift = {0, 1, 0, 1, 0, 1}, float[6] mid = {0, 0, 0, 0, 0, 0}"

CONVENTIONS = [
    _row(
        "clip-vision-tower",
        "optimum",
        "CLIPVisionModelWithProjection",
        "image_embeds [N, D], last_hidden_state [N, T, D]",
        f"{TOKENS} last_hidden_state = Identity(h) image_embeds = Identity(z)",
        "float[N, 6] image_embeds, float[N, 256, 2] last_hidden_state",
        "image_embeds",
        PIXELS,
        "int64[3] tokens = {0, 2, -1}",
    ),
    _row(
        "dinov2",
        "optimum",
        "Dinov2Model, ViTModel, SiglipVisionModel",
        "last_hidden_state [N, T, D], pooler_output [N, D]",
        f"{TOKENS} last_hidden_state = Identity(h) pooler_output = Tanh(z)",
        "float[N, 256, 2] last_hidden_state, float[N, 6] pooler_output",
        "pooler_output",
        PIXELS,
        "int64[3] tokens = {0, 2, -1}",
    ),
    _row(
        "hidden-states-only",
        "optimum",
        "Dinov2 without its pooler",
        "last_hidden_state [N, T, D]",
        f"{TOKENS} last_hidden_state = Add(h, one)",
        "float[N, 256, 2] last_hidden_state",
        "last_hidden_state",
        PIXELS,
        "int64[3] tokens = {0, 2, -1}",
    ),
    _row(
        "arcface-fc1",
        "MXNet",
        "ArcFace of the ONNX model zoo, InsightFace",
        "fc1 [N, 512], batch normalisation last",
        "fc1 = BatchNormalization(z, scale, shift, mid, scale)",
        "float[N, 6] fc1",
        "fc1",
        INPUT.replace("input", "data"),
        NORM,
    ),
    _row(
        "unit-length",
        "torch.onnx.export",
        "models of F.normalize",
        "output [N, D], divided by its norm",
        "l = ReduceL2<keepdims = 1>(z, axis) output = Div(z, l)",
        "float[N, 6] output",
        "output",
    ),
    _row(
        "timm-features",
        "timm",
        "create_model(num_classes=0)",
        "features [N, D]",
        "features = Identity(z)",
        "float[N, 6] features",
        "features",
    ),
    _row(
        "four-axes",
        "OpenVINO",
        "re-identification networks",
        "embedding [N, D, 1, 1]",
        "w = Reshape(z, whole) embedding = Identity(w)",
        "float[N, 6, 1, 1] embedding",
        "embedding",
    ),
    _row(
        "facenet",
        "tf2onnx",
        "FaceNet of DeepFace: input NHWC",
        "embeddings [N, D]",
        "n = LpNormalization<axis = 1>(z) embeddings = Identity(n)",
        "float[N, 6] embeddings",
        "embeddings",
        "float[N, 64, 64, 3] input",
    ),
    _row(
        "integers",
        "onnxruntime.quantization",
        "int8 embedders for edge devices",
        "feature [N, D], uint8",
        "feature = QuantizeLinear(z, half, offset)",
        "uint8[N, 6] feature",
        "feature",
        INPUT,
        "uint8 offset = {10}",
    ),
    _row(
        "unnamed",
        "torch.onnx.export",
        "MobileFaceNet, OSNet",
        "output [N, 128] without a norm",
        "n = Tile(z, repeats) s = Slice(n, zero, last, axis) o = Identity(s) output = MatMul(o, mix)",
        "float[N, 64] output",
        "output",
        INPUT,
        "int64[2] repeats = {1, 11}, int64[1] zero = {0}, int64[1] last = {64}, float[64, 64] mix = {"
        + ", ".join("1" if row == column else "0" for row in range(64) for column in range(64))
        + "}",
    ),
]
