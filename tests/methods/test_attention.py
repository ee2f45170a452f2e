"""Where LeGrad finds attention, and what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import MethodError
from tests.methods.replica_networks import Transformer
from tests.methods.transformers import legrad
from tests.networks import export, hand_model, hand_transformer
from tests.optional import torch

nn = torch.nn
X = torch.randn(2, 3, 15, 15, generator=torch.Generator().manual_seed(1))


class PostNorm(Transformer):
    """The normalisations stand behind the sums, as in BERT: the last one belongs to the last block."""

    def __init__(self) -> None:
        super().__init__(class_token=False)
        self.norm = nn.Identity()

    def block(self, block, z, probabilities=None):
        n, t, width = z.shape
        qkv = block["qkv"](z).reshape(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if probabilities is None:
            probabilities = (qkv[0] @ qkv[1].transpose(2, 3) / 2).softmax(-1)
        z = block["norm1"](z + block["out"]((probabilities @ qkv[2]).transpose(1, 2).reshape(n, t, width)))
        return block["norm2"](z + block["mlp"](z)), probabilities


class Flat(Transformer):
    """Batch and heads are one axis, as where attention is spelt with bmm; nothing is left where NaN would be."""

    def block(self, block, z, probabilities=None):
        n, t, width = z.shape
        q, k, v = (
            part.reshape(n, t, self.heads, -1).transpose(1, 2).reshape(n * self.heads, t, -1)
            for part in block["qkv"](block["norm1"](z)).chunk(3, -1)
        )
        if probabilities is None:
            probabilities = torch.bmm(q, k.transpose(1, 2)).softmax(-1)
        safe = torch.where(probabilities.isnan(), 0.0, probabilities)
        out = torch.bmm(safe, v).reshape(n, self.heads, t, -1).transpose(1, 2).reshape(n, t, width)
        z = z + block["out"](out)
        return z + block["mlp"](block["norm2"](z)), probabilities


@pytest.mark.parametrize(
    ("network", "exporter"),
    [
        (PostNorm, {}),
        (lambda: Flat(True), {}),
        (lambda: Transformer(False), {"dynamo": False, "opset_version": 14}),  # LayerNormalization spelt out
        (PostNorm, {"dynamo": False, "opset_version": 14}),
    ],
    ids=["post-norm", "bmm", "old", "old post-norm"],
)
def test_attention_is_found_however_it_is_spelt(network, exporter) -> None:
    torch.manual_seed(0)
    net = network().eval()
    expected = legrad(net, X, [4, 2]).numpy()
    raw = Explainer(export(net, X, **exporter), method="legrad").attribute(X.numpy(), target=[4, 2])
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


def test_the_first_block_that_counts() -> None:
    torch.manual_seed(0)
    net = Transformer(True).eval()
    model = export(net, X)
    raw = Explainer(model, method="legrad", settings={"first": 1}).attribute(X.numpy(), target=[4, 2])
    expected = legrad(net, X, [4, 2], first=1).numpy()
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))
    with pytest.raises(MethodError, match="the setting first of legrad is below the number of blocks, 2, not 2"):
        Explainer(model, method="legrad", settings={"first": 2})


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(MethodError, match=r"needs a transformer in which all tokens attend to each other; .* Softmax"):
        Explainer(hand_model(), method="legrad")


def test_fused_attention_is_refused() -> None:
    model = hand_transformer()
    names = [node.op_type for node in model.graph.node]
    start, end = names.index("MatMul"), names.index("Softmax") + 1
    fused = onnx.helper.make_node("Attention", ["q", "q", "q"], ["o"], name="fused", scale=1.0)
    kept = [*model.graph.node[: start - 1], fused, *model.graph.node[end + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.opset_import[0].version = 23
    with pytest.raises(MethodError, match=r"which Attention \(node 'fused'\) does not output; export the model with"):
        Explainer(model, method="legrad")


def test_a_head_that_holds_a_graph_is_refused() -> None:
    model = hand_transformer()
    body = onnx.parser.parse_graph("same () => (float[n, 1] t) { t = Identity(m) }")
    added = [
        onnx.helper.make_node("ReduceSum", ["m"], ["sum"], keepdims=0),
        onnx.helper.make_node("Greater", ["sum", "zero"], ["yes"]),
        onnx.helper.make_node("If", ["yes"], ["picked"], name="choice", then_branch=body, else_branch=body),
    ]
    last = model.graph.node.pop()
    last.input[0] = "picked"
    model.graph.node.extend([*added, last])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "zero"))
    with pytest.raises(MethodError, match=r"repeat the network's head for each block: If \(node 'choice'\) holds a"):
        Explainer(model, method="legrad")
