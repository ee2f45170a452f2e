"""The decoder of a captioner with and without a cache, merged in one file as optimum does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper as make

from tests.decoders.exported import HEADS, LAYERS, TOKENS, WIDTH, as_module

_KINDS = [f"{n}.{end}.{kind}" for n in range(LAYERS) for end in ("decoder", "encoder") for kind in ("key", "value")]
PAST, PRESENT = [f"past_key_values.{x}" for x in _KINDS], [f"present.{x}" for x in _KINDS]
FLOAT = onnx.TensorProto.FLOAT


def merge(folder: Path, network: Any) -> None:
    """Put a merged decoder in the place of decoder_model.onnx: an If, on use_cache_branch.

    Its branch without a cache gives all states; that with one gives those of the encoder empty.
    """
    empty, full = (_branch(folder / "branch.onnx", network, some) for some in ([], PAST))
    (folder / "decoder_model.onnx").unlink()
    for y in full.output:
        if ".encoder." in y.name:
            y.name += ".none"
            full.node.append(make.make_node("ConstantOfShape", ["none"], [y.name]))
    size = WIDTH // HEADS
    inputs = [
        make.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["b", "n"]),
        make.make_tensor_value_info("encoder_hidden_states", FLOAT, ["b", "k", WIDTH]),
        *(make.make_tensor_value_info(x, FLOAT, ["b", HEADS, f"{x}.n", size]) for x in PAST),
        make.make_tensor_value_info("use_cache_branch", onnx.TensorProto.BOOL, [1]),
    ]
    outputs = [make.make_tensor_value_info("logits", FLOAT, ["b", "n", TOKENS])]
    outputs += [make.make_tensor_value_info(x, FLOAT, ["b", HEADS, f"{x}.n", size]) for x in PRESENT]
    bodies = {"then_branch": _body(full, "full"), "else_branch": _body(empty, "empty")}
    node = make.make_node("If", ["use_cache_branch"], ["logits", *PRESENT], **bodies)
    none = onnx.numpy_helper.from_array(np.array([0, HEADS, 1, size]), "none")
    whole = make.make_graph([node], "merged", inputs, outputs, [none])
    opsets = onnx.load(folder / "encoder_model.onnx").opset_import
    onnx.save(make.make_model(whole, opset_imports=opsets, ir_version=9), folder / "decoder_model_merged.onnx")


def _branch(path: Path, network: Any, past: list[str]) -> onnx.GraphProto:
    """Return the decoder that takes the states *past*, by an export to *path*."""
    import torch
    from transformers import DynamicCache, EncoderDecoderCache

    def say(ids: Any, states: Any, *given: Any) -> Any:
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        for k in range(0, len(given), 4):
            cache.self_attention_cache.update(given[k], given[k + 1], k // 4)
            cache.cross_attention_cache.update(given[k + 2], given[k + 3], k // 4)
            cache.is_updated[k // 4] = True
        before = given[0].shape[2] if given else 0
        found = network.decoder(
            ids,
            attention_mask=torch.ones(ids.shape[0], before + ids.shape[1], dtype=torch.long),
            position_ids=torch.arange(ids.shape[1])[None] + before,
            encoder_hidden_states=states,
            past_key_values=cache,
            use_cache=True,
        )
        both = found.past_key_values.self_attention_cache.layers, found.past_key_values.cross_attention_cache.layers
        return found.logits, *(x for own in zip(*both, strict=True) for one in own for x in (one.keys, one.values))

    taken = [torch.rand(1, HEADS, 3 if ".decoder." in x else 17, WIDTH // HEADS) for x in past]
    given = torch.ones(1, 5, dtype=torch.long), torch.rand(1, 17, WIDTH), *taken
    names = ["input_ids", "encoder_hidden_states", *past]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            as_module(network, say), given, str(path), input_names=names, output_names=["logits", *PRESENT],
            dynamic_axes={x: {0: "b", 2 if x in past else 1: f"{x}.n"} for x in names}, dynamo=False,
        )  # fmt: skip
    found = onnx.load(path).graph
    path.unlink()
    return found


def _body(graph: onnx.GraphProto, prefix: str) -> onnx.GraphProto:
    """Return *graph* as a branch, which takes its inputs from outside, with *prefix* before the names of its own."""
    own = {x.name for x in graph.initializer} | {y for node in graph.node for y in node.output}

    def name(x: str) -> str:
        return f"{prefix}/{x}" if x in own else x

    for node in graph.node:
        node.input[:], node.output[:] = map(name, node.input), map(name, node.output)
    for x in graph.initializer:
        x.name = name(x.name)
    ends = [make.make_empty_tensor_value_info(name(y.name)) for y in graph.output]
    return make.make_graph(graph.node, prefix, [], ends, graph.initializer)
