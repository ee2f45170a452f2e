"""The networks of the replicas in PyTorch, and their scores and gradients."""

from __future__ import annotations

from tests.optional import torch

nn, F = torch.nn, torch.nn.functional


class Rectifier(torch.autograd.Function):
    """A ReLU that passes back what *how* lets through."""

    @staticmethod
    def forward(ctx, x, how):
        ctx.save_for_backward(x)
        ctx.how = how
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        passed = {"gradient": x > 0, "deconvnet": dy > 0, "guided": (x > 0) & (dy > 0)}[ctx.how]
        return dy * passed, None


class Net(nn.Module):
    """Three convolutions, and a head: pooled and linear, or flat with two linear layers."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.pooled, self.how = pooled, None
        self.convs = nn.ModuleList([nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 12, 3)])
        self.linear = nn.Linear(12, 5) if pooled else nn.Linear(12 * 25, 5)

    def rectify(self, x):
        return F.relu(x) if self.how is None else Rectifier.apply(x, self.how)

    def features(self, x):
        for conv in self.convs:
            x = self.rectify(conv(x))
        return x

    def head(self, a):
        return self.linear(a.mean((2, 3)) if self.pooled else a.flatten(1))

    def forward(self, x):
        return self.head(self.features(x))


class Transformer(nn.Module):
    """Two blocks over nine patches, with a class token or without; attention is spelt out."""

    def __init__(self, class_token: bool, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.class_token, self.heads = class_token, heads
        self.patches = nn.Conv2d(3, width, 5, 5)
        self.start = nn.Parameter(torch.randn(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, 9 + class_token, width))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "norm2": nn.LayerNorm(width),
                    "mlp": nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width)),
                }
            )
            for _ in range(2)
        )
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, 5)

    def embedded(self, x):
        z = self.patches(x).flatten(2).transpose(1, 2)
        return (torch.cat([self.start.expand(len(z), -1, -1), z], 1) if self.class_token else z) + self.place

    def block(self, block, z, probabilities=None):
        n, t, width = z.shape
        qkv = block["qkv"](block["norm1"](z)).reshape(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if probabilities is None:
            probabilities = (qkv[0] @ qkv[1].transpose(2, 3) / 2).softmax(-1)
        z = z + block["out"]((probabilities @ qkv[2]).transpose(1, 2).reshape(n, t, width))
        return z + block["mlp"](block["norm2"](z)), probabilities

    def head(self, z):
        z = self.norm(z)
        return self.linear(z[:, 0] if self.class_token else z.mean(1))

    def forward(self, x):
        z = self.embedded(x)
        for block in self.blocks:
            z, _ = self.block(block, z)
        return self.head(z)


def layer_gradient(net, x, target):
    a = net.features(x).detach().requires_grad_()
    (g,) = torch.autograd.grad(net.head(a)[range(len(x)), target].sum(), a)
    return a.detach(), g


def input_gradient(net, x, target, how):
    net.how, x = how, x.clone().requires_grad_()
    (g,) = torch.autograd.grad(net(x)[range(len(x)), target].sum(), x)
    net.how = None
    return g


def one_by_one(replica):
    """The replica of a method of several passes: image by image, each with the seed's own numbers."""

    def all_of_them(net, x, target):
        return torch.stack([replica(net, x[i : i + 1], [target[i]])[0] for i in range(len(x))])

    return all_of_them


def score(net, x, target):
    with torch.no_grad():
        return float(net(x)[0, target[0]])
