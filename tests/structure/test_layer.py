"""Which layer `auto` takes, what layers are called, and how their axes are followed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import STANDARD
from onnxcam.errors import GradientError, LayerError
from onnxcam.graph.io import load
from onnxcam.passes import canonical
from onnxcam.structure.layout import GridLayout, TokenLayout
from onnxcam.structure.names import module_names
from onnxcam.structure.propagate import layouts
from tests.networks import export
from tests.optional import torch

nn = torch.nn


NEW_AND_OLD = ({}, {"dynamo": False, "opset_version": 14})


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        h = self.norm1(x)
        q, k, v = (layer(h).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(h)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches of 8 × 8, *before* and *after* tokens that are no patches; the head reads a token or the mean."""

    def __init__(self, before: int = 1, after: int = 0, mean: bool = False, size: tuple[int, int] = (32, 48)) -> None:
        super().__init__()
        cells = (size[0] // 8) * (size[1] // 8)
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.before = nn.Parameter(torch.randn(1, before, 16))
        self.after = nn.Parameter(torch.randn(1, after, 16))
        self.position = nn.Parameter(torch.randn(1, before + cells + after, 16))
        self.blocks = nn.ModuleList([Block(16), Block(16)])
        self.norm, self.head, self.mean = nn.LayerNorm(16), nn.Linear(16, 5), mean

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.before.expand(len(x), -1, -1), x, self.after.expand(len(x), -1, -1)], 1) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x.mean(1) if self.mean else x[:, 0])


@pytest.fixture(scope="module")
def vit() -> onnx.ModelProto:
    torch.manual_seed(0)
    return export(ViT(before=5), torch.rand(1, 3, 32, 48))


def test_a_transformer_is_read_before_its_last_attention(vit: onnx.ModelProto) -> None:
    choice = Explainer(vit).choice
    assert choice is not None
    assert choice.layer.name == "blocks.1.norm1"  # behind it only the class token counts
    assert choice.layer.layout == TokenLayout(channel=2, token=1, grid=(4, 6), offset=5)
    assert "the target depends on" in choice.reason
    assert choice.others


def test_a_transformer_of_the_older_exporter_is_read_by_patches_too() -> None:
    """It repeats the class token by a shape computed at run time: the length of neither it nor the whole is known."""
    pytest.importorskip("transformers")
    from transformers import ViTConfig, ViTForImageClassification

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            settings = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 3}
            self.vit = ViTForImageClassification(
                ViTConfig(**settings, num_attention_heads=4, intermediate_size=48, num_labels=5)
            )

        def forward(self, x):
            return self.vit(pixel_values=x).logits

    torch.manual_seed(0)
    module, x = Logits().eval(), torch.rand(2, 3, 32, 32)
    new, old = (Explainer(export(module, x, **how), method="layercam", layer=None) for how in NEW_AND_OLD)
    for explainer in (new, old):
        assert explainer.choice is not None
        layout = explainer.choice.layer.layout
        assert isinstance(layout, TokenLayout)
        assert (layout.grid, layout.offset) == ((4, 4), 1)
    assert old.choice is not None
    assert old.choice.layer.name == "vit.vit.layers.1"  # the older one spells the normalisation out
    same = Explainer(new.model, method="layercam", layer="vit.vit.layers.1")
    np.testing.assert_allclose(
        old.attribute(x.numpy(), target=1), same.attribute(x.numpy(), target=1), rtol=1e-3, atol=1e-7
    )


def test_a_transformer_with_a_mean_head_is_read_at_its_end() -> None:
    torch.manual_seed(0)
    choice = Explainer(export(ViT(before=0, after=2, mean=True), torch.rand(1, 3, 32, 48))).choice
    assert choice is not None
    assert choice.layer.name == "norm"
    assert choice.layer.layout == TokenLayout(channel=2, token=1, grid=(4, 6), offset=0)


def test_the_map_of_a_transformer_lies_on_the_patch_grid(vit: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 48)).astype(np.float32)
    assert Explainer(vit).attribute(x, target=1).shape == (1, 4, 6)


def test_gradcam_of_tokens_equals_pytorch() -> None:
    torch.manual_seed(0)
    net = ViT(before=2).eval()
    x = torch.randn(1, 3, 32, 48)
    kept = {}
    net.blocks[1].norm1.register_forward_hook(lambda module, inputs, output: kept.update(a=output))
    logits = net(x)
    (g,) = torch.autograd.grad(logits[0, 3], kept["a"])
    a, g = (t.detach()[:, 2:].transpose(1, 2).reshape(1, 16, 4, 6) for t in (kept["a"], g))
    expected = (g.mean((2, 3), keepdim=True) * a).sum(1).clamp(min=0).numpy()
    actual = Explainer(export(net, x)).attribute(x.numpy(), target=3)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-6)


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(torch.relu(self.conv(x)).mean((2, 3, 4)))


def test_volumes() -> None:
    torch.manual_seed(0)
    explainer = Explainer(export(Volume(), torch.rand(1, 1, 4, 5, 6)))
    x = np.random.default_rng(0).standard_normal((1, 1, 4, 5, 6)).astype(np.float32)
    assert explainer.choice is not None
    assert explainer.choice.layer.layout == GridLayout(1, (2, 3, 4))
    assert explainer.attribute(x).shape == (1, 4, 5, 6)
    assert Explainer(export(Volume(), torch.rand(1, 1, 4, 5, 6)), method="gradient").attribute(x).shape == x.shape


class ChannelsLast(nn.Module):
    """As ConvNeXt and Swin: normalised and mixed with the channels behind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.mix = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 6)
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        x = self.mix(self.norm(self.conv(x).permute(0, 2, 3, 1)))
        return self.linear(nn.functional.gelu(x).mean((1, 2)))


def test_channels_last_activations() -> None:
    torch.manual_seed(0)
    net, x = ChannelsLast().eval(), torch.randn(2, 3, 16, 24)
    explainer = Explainer(export(net, x))
    assert explainer.choice is not None
    assert explainer.choice.layer.layout == GridLayout(3, (1, 2))
    with torch.no_grad():
        a = nn.functional.gelu(net.mix(net.norm(net.conv(x).permute(0, 2, 3, 1))))
        expected = (a @ net.linear.weight[2] / 24).clamp(min=0)
    np.testing.assert_allclose(explainer.attribute(x.numpy(), target=2), expected, rtol=1e-4, atol=1e-6)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer1 = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.pool, self.linear = nn.MaxPool2d(2), nn.Linear(8 * 16, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.linear(self.pool(torch.relu(x + self.layer1(x))).flatten(1))


@pytest.mark.parametrize("dynamo", [True, False])
def test_layers_by_every_name(dynamo: bool) -> None:
    torch.manual_seed(0)
    model = export(Residual(), torch.rand(1, 3, 16, 16), dynamo=dynamo)
    explainer = Explainer(model)
    assert explainer.choice is not None
    relus = [node for node in model.graph.node if node.op_type == "Relu"]
    assert explainer.choice.layer.tensor == relus[-1].output[0]  # the last ReLU, not the pool behind it
    module = Explainer(model, layer="layer1.0").choice
    inside = [node for node in load(model).graph if "layer1.0" in module_names(node)]
    assert module is not None
    assert module.layer.tensor == inside[-1].outputs[0].name
    for name in (relus[0].name, relus[0].output[0]):
        choice = Explainer(model, layer=name).choice
        assert choice is not None
        assert choice.layer.tensor == relus[0].output[0]
    with pytest.raises(LayerError, match="Did you mean"):
        Explainer(model, layer="layer1.O")


def test_keras_names() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) { y = Relu(x) }
    """)
    model.graph.node[0].name = "mobile/block_16_project/Conv2D"
    assert "block_16_project" in module_names(load(model).graph[0])


def test_layouts_lose_what_mixes_space() -> None:
    torch.manual_seed(0)
    model = canonical(load(export(ViT(), torch.rand(1, 3, 32, 48))), STANDARD)
    found = layouts(model.graph, model.graph.inputs[0], STANDARD)
    attention = [node for node in model.graph if node.op_type == "Softmax"]
    assert attention
    assert all(node.outputs[0] not in found for node in attention)


def two_branches() -> onnx.ModelProto:
    """Boxes that are decoded as tokens from both branches, one branch alone, and the pixels."""
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 18]>
    detector (float[n, 1, 8, 8] x) => (float[n, 4, 64] found) <int64[3] one = {0, 1, -1}, int64[3] two = {0, 2, -1},
     float stride = {8}>
    {
        w = Constant<value = float[1] {0}> ()
        a = Conv<pads = [1, 1, 1, 1]>(x, w)
        trunk = Relu(a)
        u = Constant<value = float[1] {0}> ()
        b = Conv<pads = [1, 1, 1, 1]>(trunk, u)
        wide = Relu(b)
        v = Constant<value = float[1] {0}> ()
        c = Conv<pads = [1, 1, 1, 1]>(trunk, v)
        likely = Reshape(wide, one)
        moved = Reshape(c, two)
        scale = Exp(likely)
        boxes = Add(moved, scale)
        pixels = Reshape(x, one)
        cells = Concat<axis = 1>(boxes, likely, pixels)
        found = Mul(cells, stride)
    }
    """)
    rng = np.random.default_rng(0)
    shapes = {"w": (2, 1, 3, 3), "u": (1, 2, 3, 3), "v": (2, 2, 3, 3)}
    for node in model.graph.node:
        if node.op_type == "Constant":
            weights = rng.uniform(0.1, 0.3, shapes[node.output[0]]).astype(np.float32)
            node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(weights))
    return model


@pytest.mark.parametrize(
    ("target", "layer"),
    [
        ("found[0, 0, :].sum()", "boxes"),  # the sum of two branches, behind both
        ("found[0, 2, :].sum()", "wide"),  # which the boxes do not lead to
        ("found[0, 2, 27]", "wide"),  # though it is one cell of 64
    ],
)
def test_a_layer_that_the_target_depends_on(target: str, layer: str) -> None:
    """The last tokens of a detector may be those of its boxes; the target its classes."""
    x = np.random.default_rng(0).uniform(0.1, 1, (1, 1, 8, 8)).astype(np.float32)
    explainer = Explainer(two_branches(), method="gradcam")
    raw = explainer.attribute(x, target)
    assert explainer.choice is not None
    assert explainer.choice.layer.tensor == layer
    assert raw.any()


def test_a_target_that_depends_on_no_layer() -> None:
    explainer, x = Explainer(two_branches(), method="gradcam"), np.zeros((1, 1, 8, 8), np.float32)
    with pytest.raises(GradientError, match="the target depends on none of the last layers; name the layer to explain"):
        explainer.attribute(x, "found[0, 3, :].sum()")


def test_cells_are_not_followed_through_resampling() -> None:
    """Behind a sampler the cells lie where the grid says: the layer before it is taken."""
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 20]>
    net (float[n, 1, 4, 4] x, float[n, 4, 4, 2] grid) => (float[n, 1] logits)
    {
        before = Relu(x)
        moved = GridSample(before, grid)
        behind = Relu(moved)
        p = GlobalAveragePool(behind)
        logits = Flatten(p)
    }
    """)
    explainer = Explainer(model, inputs={"grid": np.zeros((1, 4, 4, 2), np.float32)}, wrt="x")
    assert explainer.choice is not None
    assert explainer.choice.layer.tensor == "before"
    with pytest.raises(LayerError, match="has no spatial axes that can be followed from the image"):
        Explainer(model, layer="behind", wrt="x")
