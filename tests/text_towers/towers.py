"""Small towers of images and of texts, written by hand, and tokenizers of whole words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.networks import saved

pytest.importorskip("tokenizers", reason="the extra onnxcam[text] is not installed")
import tokenizers

RNG = np.random.default_rng(0)
WORDS = ("<pad>", "<start>", "<end>", "?", "a", "red", "blue", "star", "ring", "dog")
PAD, START, END, UNKNOWN = range(4)
TABLE = RNG.standard_normal((12, 4)).astype(np.float32)
KERNEL = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
LENGTH = 8
BATCHES = {"pixel_values": "images", "input_ids": "texts", "attention_mask": "texts"}


def words(folder: Path, ids: dict[str, int] | None = None, name: str = "tokenizer.json", **padding: Any) -> Path:
    """Write a tokenizer of whole words, by default `WORDS`, between a start and an end."""
    from tokenizers import models, normalizers, pre_tokenizers, processors

    vocabulary = ids or {word: i for i, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    ends = [(word, vocabulary[word]) for word in ("<start>", "<end>") if word in vocabulary]
    if len(ends) == 2:
        made.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    if padding:
        made.enable_padding(**padding)
    made.save(str(folder / name))
    return folder / name


_IMAGE = "h = Conv<pads = [1, 1, 1, 1]>(pixel_values, kernel) r = Relu(h) image_embeds = ReduceMean(r, space)"
_AT_END = """
    e = Equal(input_ids, end) ei = Cast<to = 6>(e) at = ArgMax<axis = 1, keepdims = 1>(ei)
    at3 = Unsqueeze(at, two) g = Gather(table, input_ids) p = Expand(at3, width)
    t1 = GatherElements<axis = 1>(g, p) text_embeds = Squeeze(t1, one)
"""
_MASKED = """
    m = Cast<to = 1>(attention_mask) m3 = Unsqueeze(m, two) g = Gather(table, input_ids)
    gm = Mul(g, m3) text_embeds = ReduceSum<keepdims = 0>(gm, one)
"""
_LAST = """
    at = ArgMax<axis = 1, keepdims = 1>(input_ids)
    at3 = Unsqueeze(at, two) g = Gather(table, input_ids) p = Expand(at3, width)
    t1 = GatherElements<axis = 1>(g, p) text_embeds = Squeeze(t1, one)
"""
_SUMMED = "g = Gather(table, input_ids) text_embeds = ReduceSum<keepdims = 0>(g, one)"
_PLACED = """
    t = Cast<to = 1>(token_type_ids) p = Cast<to = 1>(position_ids) w = Add(t, p) w3 = Unsqueeze(w, two)
    g = Gather(table, input_ids) gw = Mul(g, w3) text_embeds = ReduceSum<keepdims = 0>(gw, one)
"""
_FLAGGED = """
    f = Cast<to = 1>(flags) f3 = Unsqueeze(f, two) g = Gather(table, input_ids) gf = Mul(g, f3)
    text_embeds = ReduceSum<keepdims = 0>(gf, one)
"""
_POOLING = {
    "end": _AT_END,
    "masked": _MASKED,
    "largest": _LAST,
    "summed": _SUMMED,
    "placed": _PLACED,
    "flagged": _FLAGGED,
}
_BESIDE = {"masked": ("attention_mask",), "placed": ("token_type_ids", "position_ids"), "flagged": ("flags",)}


def _model(inputs: str, outputs: str, nodes: str, end: int, table: np.ndarray, kernel: np.ndarray) -> onnx.ModelProto:
    width = table.shape[1]
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 18]>
    towers ({inputs}) => ({outputs})
    <int64[2] space = {{2, 3}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[3] width = {{1, 1, {width}}},
     int64 end = {{{end}}}>
    {{ {nodes} }}
    """)
    used = {name for node in model.graph.node for name in node.input}
    kept = [x for x in model.graph.initializer if x.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for name, array in (("table", table), ("kernel", kernel)):
        if name in used:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def image_tower(path: Path) -> Path:
    """Write an image tower: the means of four channels behind a convolution."""
    model = _model(
        "float[n, 3, 8, 8] pixel_values", "float[n, 4] image_embeds",
        _IMAGE.replace("ReduceMean", "ReduceMean<keepdims = 0>"), END, TABLE, KERNEL,
    )  # fmt: skip
    return saved(path, model)


def text_tower(
    path: Path, pooling: str = "end", *, length: int | str = LENGTH, end: int = END, table: np.ndarray = TABLE,
    dtype: str = "int64",
) -> Path:  # fmt: skip
    """Write a text tower: the row of the table of one token, or the sum over those of the mask."""
    beside = "".join(f", int64[n, {length}] {name}" for name in _BESIDE.get(pooling, ()))
    model = _model(
        f"{dtype}[n, {length}] input_ids{beside}", f"float[n, {table.shape[1]}] text_embeds", _POOLING[pooling], end,
        table, KERNEL,
    )  # fmt: skip
    return saved(path, model)


def two_towers(path: Path) -> Path:
    """Write a file of both towers, with the outputs of transformers and optimum."""
    nodes = (
        _IMAGE.replace("ReduceMean", "ReduceMean<keepdims = 0>")
        + _MASKED
        + """
        a = LpNormalization<axis = 1>(image_embeds) b = LpNormalization<axis = 1>(text_embeds)
        bt = Transpose(b) logits_per_image = MatMul(a, bt)
    """
    )
    inputs = (
        f"float[images, 3, 8, 8] pixel_values, int64[texts, {LENGTH}] input_ids, int64[texts, {LENGTH}] attention_mask"
    )
    outputs = "float[images, texts] logits_per_image, float[texts, 4] text_embeds, float[images, 4] image_embeds"
    return saved(path, _model(inputs, outputs, nodes, END, TABLE, KERNEL))


def unit(y: np.ndarray) -> np.ndarray:
    return y.astype(np.float64) / np.linalg.norm(y)


def image_embedding(x: np.ndarray) -> np.ndarray:
    """Return the embedding of a tensor [3, 8, 8], slowly."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    cells = [
        np.maximum((KERNEL * padded[None, :, i : i + 3, j : j + 3]).sum((1, 2, 3)), 0)
        for i in range(8)
        for j in range(8)
    ]
    return np.mean(cells, 0)
