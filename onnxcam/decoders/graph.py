"""Join the parts of a decoder into one graph: encoder, table of embeddings, decoder.

The image's embeddings take the places of the image's tokens, in what the decoder reads or an encoder of texts before
it; or the decoder reads the states of the image's encoder by cross-attention. The decoder runs once over prompt and
text, without a cache, so each token of the text is scored given all tokens before it. The model takes one image: many
encoders that declare an open batch split or join the embeddings of a traced number of images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.decoders.feeds import DecoderFeeds
from onnxcam.decoders.files import PARTS
from onnxcam.decoders.meeting import JoinedParts
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.subgraph import all_nodes, prune, values
from onnxcam.metadata.prompting import (
    IMAGE_EMBEDDINGS,
    IMAGE_PLACES,
    LOG_PROBABILITIES,
    LOGITS,
    PROMPT,
    TEXT_TOKENS,
    Prompting,
)
from onnxcam.passes.inline import inline_functions
from onnxcam.passes.inputs import fix_inputs
from onnxcam.passes.opset import converted, raise_opset
from onnxcam.text import first_line

__all__ = ["joined"]

_END = int(np.iinfo(np.int64).max)
_INT64, _FLOAT = ir.TensorType(ir.DataType.INT64), int(ir.DataType.FLOAT)


def joined(parts: JoinedParts, asked: Prompting) -> ir.Model:
    """Return one model of *parts*, whose models are taken apart, and whose encoder takes one image.

    Inputs: the image, `PROMPT` and `TEXT_TOKENS`; outputs: `LOG_PROBABILITIES` and `LOGITS`.
    ModelError where onnx cannot bring the parts to one opset, or an input of a part has no known meaning.
    """
    models = _alike(parts.models)
    graphs = {name: models[name].graph for name in PARTS if name in models}
    tensors = {name: _by_name(graph) for name, graph in graphs.items()}
    for name, graph in graphs.items():
        _prefix(graph, f"{name}.")
    imports = {domain: version for model in models.values() for domain, version in model.opset_imports.items()}
    inputs = {name: list(graph.inputs) for name, graph in graphs.items()}
    whole = ir.Graph([], [], nodes=[], opset_imports=imports, name="decoder")
    for graph in graphs.values():
        _move(graph, whole)
    op = Emitter(whole, "joined")
    (image,) = inputs["vision"]
    image.name = (image.name or "").removeprefix("vision.")
    prompt, text = (
        ir.Value(name=name, shape=ir.Shape([1, f"{name}.length"]), type=_INT64) for name in (PROMPT, TEXT_TOKENS)
    )
    whole.inputs.extend([image, prompt, text])
    ids = op.Concat(prompt, op.const(np.array([asked.start], np.int64)), text, axis=1)
    hidden = tensors["vision"]["outputs"][parts.features]
    given: dict[str, ir.Value] = {}
    if parts.embeds is not None:
        (tokens,) = inputs["embed"]
        taken = op.Cast(ids, to=int(tokens.dtype or ir.DataType.INT64))
        tokens.replace_all_uses_with(taken)
        op.place([taken])
        words = next(iter(tensors["embed"]["outputs"].values()))
        count = asked.prompt.count(asked.image)
        rows = op.call(op.Reshape(hidden, op.Concat([count], op.dim(words, 2), axis=0)), IMAGE_EMBEDDINGS)
        here = op.call(op.Equal(ids, asked.image), IMAGE_PLACES)
        given[parts.embeds] = _placed(op, here, words, rows)
        for name, output in parts.deep.items():
            nothing = op.Mul(words, op.const(np.array(0), words.dtype))
            given[name] = _placed(op, here, nothing, tensors["vision"]["outputs"][output])
    if parts.encoder is not None and parts.embeds is not None:
        end, embeds = op.dim(prompt, 1), given[parts.embeds]
        read = {parts.encoder.embeds: op.Slice(embeds, [0], end, [1])}
        DecoderFeeds(op, prompt, text, read, asked).fill(inputs["encoder"])
        hidden = tensors["encoder"]["outputs"][parts.encoder.states]
        ids, given[parts.embeds] = (op.Slice(x, end, [_END], [1]) for x in (ids, embeds))
    if parts.hidden is not None:
        given[parts.hidden] = hidden
    feeds = DecoderFeeds(op, ids, text, given, asked, None if parts.hidden is None else hidden)
    feeds.fill(inputs["decoder"])
    outputs = _scores(op, tensors["decoder"]["outputs"][parts.logits], text)
    op.place(outputs)
    whole.outputs.extend(outputs)
    whole.sort()
    prune(whole)
    return ir.Model(whole, ir_version=max(model.ir_version for model in models.values()))


def _alike(parts: Mapping[str, ir.Model]) -> dict[str, ir.Model]:
    """Return the parts without functions, at one opset, the newest of theirs."""
    models: dict[str, ir.Model] = {}
    for name, model in parts.items():
        inline_functions(model, STANDARD)
        fix_inputs(model)
        models[name] = raise_opset(model)
    newest = max(model.opset_imports[""] for model in models.values())
    return {name: _raised(name, model, newest) for name, model in models.items()}


def _raised(name: str, model: ir.Model, opset: int) -> ir.Model:
    if model.opset_imports[""] == opset:
        return model
    try:
        return converted(model, opset)
    except Exception as error:
        raise ModelError(
            f"the part {name!r} cannot be raised from opset {model.opset_imports['']} to {opset}, "
            f"that of another part: {first_line(error)}; export all parts at one opset"
        ) from None


def _by_name(graph: ir.Graph) -> dict[str, dict[str, ir.Value]]:
    ends = {"inputs": graph.inputs, "outputs": graph.outputs}
    return {kind: {value.name or "": value for value in some} for kind, some in ends.items()}


def _prefix(graph: ir.Graph, prefix: str) -> None:
    """Put *prefix* before the names of the values and nodes of *graph*, and of its subgraphs."""
    weights = dict(graph.initializers)
    for value in list(values(graph)):
        value.name = prefix + value.name if value.name else None
    for node in all_nodes(graph):
        node.name = prefix + node.name if node.name else None
    if weights and next(iter(graph.initializers)) in weights:
        graph.initializers.clear()
        graph.initializers.update({value.name or "": value for value in weights.values()})


def _move(graph: ir.Graph, whole: ir.Graph) -> None:
    """Move the nodes and weights of *graph* into *whole*."""
    weights, nodes = list(graph.initializers.values()), list(graph)
    graph.inputs.clear()
    graph.outputs.clear()
    graph.remove(nodes)
    graph.initializers.clear()
    whole.extend(nodes)
    for value in weights:
        whole.register_initializer(value)


def _placed(op: Emitter, here: ir.Value, words: ir.Value, rows: ir.Value) -> ir.Value:
    """Return the embeddings *words* [1, L, H] with *rows* [K, H], in their order, *here*, bool [1, L]."""
    order = op.CumSum(op.Reshape(op.Cast(here, to=int(ir.DataType.INT64)), [-1]), np.array(0, np.int64))
    order = op.Reshape(op.Max(op.Sub(order, 1), 0), op.Shape(here))
    pictured = op.Cast(op.Gather(rows, order, axis=0), to=int(words.dtype or ir.DataType.FLOAT))
    return op.Where(op.Unsqueeze(here, [2]), pictured, words)


def _scores(op: Emitter, logits: ir.Value, text: ir.Value) -> list[ir.Value]:
    """Return log p of each token of *text* [1, T], and the scores of the token after it [1, V]."""
    start = op.Neg(op.Add(op.dim(text, 1), 1))
    last = op.Cast(op.Slice(logits, start, [_END], [1]), to=_FLOAT)
    logs = op.LogSoftmax(op.Slice(last, [0], [-1], [1]), axis=-1)
    own = op.Squeeze(op.GatherElements(logs, op.Unsqueeze(text, [2]), axis=2), [2])
    following = op.Squeeze(op.Slice(last, [-1], [_END], [1]), [1])
    return [op.call(own, LOG_PROBABILITIES), op.call(following, LOGITS)]
