"""Where LeGrad finds attention, and what it refuses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from onnxcam.errors import MethodError
from tests.methods.replica_networks import Transformer
from tests.methods.transformers import attention_of_blocks, grad_eclip, legrad
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


OF_ATTENTION = ("legrad", "chefer", "rollout", "grad-eclip")


@pytest.mark.parametrize("method", OF_ATTENTION)
def test_attention_without_probabilities_is_refused(method: str) -> None:
    model = hand_transformer()
    names = [node.op_type for node in model.graph.node]
    start, end = names.index("MatMul"), names.index("Softmax") + 1
    fused = onnx.helper.make_node(
        "PackedAttention", ["q", "w", "w", "q", "q"], ["o"], name="fused", domain="com.microsoft", num_heads=1
    )
    kept = [*model.graph.node[: start - 1], fused, *model.graph.node[end + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 3), np.float32), "w"))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("o", 1, ["n", 1, 4, 1]))
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(MethodError, match=rf"{method} needs .* PackedAttention \(node 'fused'\) does not output"):
        Explainer(model, method=method)


class Windowed(Transformer):
    """The first block attends within the rows of the image."""

    def __init__(self) -> None:
        super().__init__(class_token=False)

    def forward(self, x):
        z = self.embedded(x)
        n, t, width = z.shape
        rows, _ = self.block(self.blocks[0], z.reshape(3 * n, 3, width))
        z, _ = self.block(self.blocks[1], rows.reshape(n, t, width))
        return self.head(z)


@pytest.mark.parametrize("method", OF_ATTENTION[1:])
def test_windows_are_refused_where_the_whole_network_counts(method: str) -> None:
    model = export(Windowed().eval(), X)
    with pytest.raises(MethodError, match=rf"{method} follows all tokens .* has the shape .*3,3.*, as in windows or a"):
        Explainer(model, method=method)


class Heads(Transformer):
    """What the head reads: a part of the tokens, or the class token beside their mean."""

    def __init__(self, kind: str) -> None:
        super().__init__(class_token=True)
        self.kind, self.both = kind, nn.Linear(16, 5)

    def head(self, z):
        z = self.norm(z)
        if self.kind == "mean of patches":
            return self.linear(z[:, 1:].mean(1))
        return self.both(torch.cat([z[:, 0], z[:, 1:].mean(1)], 1))


@pytest.mark.parametrize(("kind", "share"), [("mean of patches", 0), ("class token and mean", 0.5)])
@pytest.mark.parametrize("exporter", [{}, {"dynamo": False, "opset_version": 14}], ids=["dynamo", "torchscript"])
def test_the_rows_are_those_of_the_tokens_that_the_head_reads(kind: str, share: float, exporter) -> None:
    torch.manual_seed(0)
    net = Heads(kind).eval()
    flow = torch.eye(10)
    for a in attention_of_blocks(net, X, [4, 2])[0]:
        flow = (0.5 * a.mean(1) + 0.5 * torch.eye(10)) @ flow
    expected = share * flow[:, 0] + (1 - share) * flow[:, 1:].mean(1)
    raw = Explainer(export(net, X, **exporter), method="rollout").attribute(X.numpy(), target=[4, 2])
    np.testing.assert_allclose(raw.reshape(2, 9), expected[:, 1:].numpy(), rtol=1e-4)


class Pooling(Transformer):
    """A probe attends to the tokens, as in SigLIP: PyTorch's own attention, then a residual network."""

    def __init__(self) -> None:
        super().__init__(class_token=False)
        self.probe, self.attention = nn.Parameter(torch.randn(1, 1, 8)), nn.MultiheadAttention(8, 2, batch_first=True)

    def head(self, z):
        z, self.pooled = self.attended(self.norm(z))
        return self.linear((z + self.blocks[0]["mlp"](z))[:, 0])

    def attended(self, z):
        q, k, v = (
            (x @ w.T + b).reshape(len(x), -1, 2, 4).transpose(1, 2)
            for x, w, b in zip(
                (self.probe.expand(len(z), -1, -1), z, z),
                self.attention.in_proj_weight.chunk(3),
                self.attention.in_proj_bias.chunk(3),
                strict=True,
            )
        )
        a = (q @ k.transpose(2, 3) / 2).softmax(-1)
        return self.attention.out_proj((a @ v).transpose(1, 2).reshape(len(z), 1, 8)), a


def pooled(method, net, x, target):
    """The map [N, 3, 3] with torch: the row of the pooling head times the product over the blocks."""
    own, slopes = attention_of_blocks(net, x, target)
    z = net.embedded(x)
    for block in net.blocks:
        z, _ = net.block(block, z)
    (last,) = torch.autograd.grad(net.head(z)[range(len(x)), target].sum(), net.pooled)
    row = (net.pooled * last).clamp(min=0).mean(1) if method == "chefer" else net.pooled.mean(1)
    flow = torch.eye(9)
    for a, g in zip(own, slopes, strict=True):
        mixed = torch.eye(9) + (a * g).clamp(min=0).mean(1) if method == "chefer" else (a.mean(1) + torch.eye(9)) / 2
        flow = mixed @ flow
    return (row @ flow).reshape(-1, 3, 3).detach().numpy()


@pytest.mark.parametrize("method", ["chefer", "rollout"])
@pytest.mark.parametrize("exporter", [{}, {"dynamo": False, "opset_version": 14}], ids=["dynamo", "torchscript"])
def test_a_head_that_pools_by_attention_is_the_last_factor(method: str, exporter) -> None:
    torch.manual_seed(0)
    net = Pooling().eval()
    model = export(net, X, **exporter)
    raw = Explainer(model, method=method).attribute(X.numpy(), target=[4, 2])
    expected = pooled(method, net, X, [4, 2])
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-5 * expected.max())
    with pytest.raises(MethodError, match=r"grad-eclip needs a head that reads a class token .* use --method chefer"):
        Explainer(model, method="grad-eclip")


def test_attention_without_a_product_of_queries_and_keys_is_refused() -> None:
    model = hand_transformer()
    next(node for node in model.graph.node if node.op_type == "MatMul").op_type = "Mul"  # for one channel the same
    with pytest.raises(
        MethodError, match="no product of queries and keys leads to the attention probabilities 'a'; use"
    ):
        Explainer(model, method="grad-eclip")


@pytest.mark.parametrize("class_token", [True, False])
def test_several_blocks_of_grad_eclip(class_token: bool) -> None:
    torch.manual_seed(0)
    net = Transformer(class_token).eval()
    model = export(net, X)
    raw = Explainer(model, method="grad-eclip", settings={"blocks": 2}).attribute(X.numpy(), target=[4, 2])
    expected = grad_eclip(net, X, [4, 2], 2).numpy()
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))
    with pytest.raises(MethodError, match="setting blocks of grad-eclip is at most the number of blocks, 2, not 3"):
        Explainer(model, method="grad-eclip", settings={"blocks": 3})


def test_rollout_bakes_without_backward_nodes(tmp_path) -> None:
    model = export(Transformer(True).eval(), X)
    bake(model, tmp_path / "baked.onnx", "rollout", target=0)
    baked = onnx.load(tmp_path / "baked.onnx")
    plain, made = (Counter(node.op_type for node in m.graph.node) for m in (model, baked))
    assert (made - plain).keys().isdisjoint({"Softmax", "LayerNormalization", "Gemm", "Erf", "Transpose", "Conv"})
    assert made["MatMul"] - plain["MatMul"] <= 2  # one for each block


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


def test_a_blank_map_names_what_to_try_instead() -> None:
    """Class 1 is minus the mean of the tokens, and all are positive."""
    image = np.array([[[51] * 3, [85] * 3], [[170] * 3, [255] * 3]], np.uint8)
    found = Explainer(hand_transformer(), method="grad-eclip", preprocess="unit")(image, target=1)
    assert not found.map.any()
    (warning,) = found.warnings
    assert warning.startswith("the map is blank: at the attention to the image everything speaks against class '1'")
    assert warning.endswith("then --set blocks=2 reads two, and --method chefer all")


def test_a_key_of_zero_is_like_no_query() -> None:
    """A black pixel of `hand_transformer` is a token of zeros, and its cosine 0."""
    image = np.array([[[0] * 3, [85] * 3], [[170] * 3, [255] * 3]], np.uint8)
    found = Explainer(hand_transformer(), method="grad-eclip", preprocess="unit")(image, target=0)
    assert np.isfinite(found.raw).all()
    assert found.raw[0, 0] == 0
    assert found.raw[1, 1] > 0
