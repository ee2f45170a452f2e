"""Convolutional classifiers: residual, dense, branched, shuffled, gated."""

from __future__ import annotations

from tests.optional import functional, nn, torch


def conv(a: int, b: int, k: int = 3, stride: int = 1, groups: int = 1, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(b), act())


class Classifier(nn.Sequential):
    """Layers, then global average pooling and a linear layer."""

    def __init__(self, *layers: nn.Module, width: int) -> None:
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


class Residual(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(a, b, stride=stride), nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b)
        )
        self.skip = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b)) if stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + (x if self.skip is None else self.skip(x)))


class SqueezeExcite(nn.Module):
    def __init__(self, a: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(a, 2, 1), nn.Conv2d(2, a, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * functional.hardsigmoid(self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    def __init__(self, a: int) -> None:
        super().__init__()
        wide = 2 * a
        self.body = nn.Sequential(
            conv(a, wide, 1, act=nn.Hardswish),
            conv(wide, wide, 3, groups=wide, act=nn.Hardswish),
            SqueezeExcite(wide),
            nn.Conv2d(wide, a, 1, bias=False),
            nn.BatchNorm2d(a),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Dense(nn.Module):
    def __init__(self, a: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(a + i * growth), nn.ReLU(), nn.Conv2d(a + i * growth, growth, 3, padding=1))
            for i in range(layers)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class Branches(nn.Module):
    def __init__(self, a: int) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(a, 2, 1))
        self.peak = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(a, 2, 1))
        self.wide = nn.Sequential(conv(a, 2, 1), conv(2, 3, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.pool(x), self.peak(x), self.wide(x)], 1)


class Shuffled(nn.Module):
    """As in ShuffleNet: half of the channels go by, then all of them are shuffled."""

    def __init__(self, a: int) -> None:
        super().__init__()
        half = a // 2
        self.body = nn.Sequential(
            conv(half, half, 1), conv(half, half, groups=half, act=nn.Identity), conv(half, half, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, 1)
        n, c, h, w = x.shape
        x = torch.cat([left, self.body(right)], 1).view(n, 2, c // 2, h, w)
        return x.transpose(1, 2).reshape(n, c, h, w)


class Ghost(nn.Module):
    """As in GhostNet: half of the channels are cheap functions of the others."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.width, half = b, (b + 1) // 2
        self.own, self.cheap = conv(a, half, 1), conv(half, half, groups=half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.own(x)
        return torch.cat([x, self.cheap(x)], 1)[:, : self.width]


class Reparametrised(nn.Module):
    """As in RepVGG, before its branches are merged."""

    def __init__(self, a: int) -> None:
        super().__init__()
        self.wide, self.narrow = conv(a, a, act=nn.Identity), conv(a, a, 1, act=nn.Identity)
        self.norm = nn.BatchNorm2d(a)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.wide(x) + self.narrow(x) + self.norm(x))


class ChannelAndPlace(nn.Module):
    """CBAM: gates from the mean and the peak, over the places and then over the channels."""

    def __init__(self, a: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(a, 2, 1), nn.ReLU(), nn.Conv2d(2, a, 1))
        self.place = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * (self.mlp(x.mean((2, 3), keepdim=True)) + self.mlp(x.amax((2, 3), keepdim=True))).sigmoid()
        return x * self.place(torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)).sigmoid()


class Selective(nn.Module):
    """As in SKNet: a softmax over branches of different kernels."""

    def __init__(self, a: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv(a, a, 3), conv(a, a, 5)])
        self.weigh = nn.Linear(a, 2 * a)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ys = torch.stack([branch(x) for branch in self.branches], 1)
        weights = self.weigh(ys.sum(1).mean((2, 3))).unflatten(1, (2, -1)).softmax(1)
        return (ys * weights[..., None, None]).sum(1)


class BlurPool(nn.Module):
    """Anti-aliased: a fixed binomial kernel behind reflected borders, before the stride."""

    def __init__(self, a: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (row[:, None] * row).expand(a, 1, 3, 3).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), "reflect"), self.kernel, stride=2, groups=x.shape[1])


class Capsules(nn.Module):
    """Vectors squashed to a length below one; two rounds of routing by agreement."""

    def __init__(self, a: int) -> None:
        super().__init__()
        self.primary = nn.Conv2d(a, 8, 3, 2)
        self.votes = nn.Parameter(torch.randn(3, 18, 4, 4) / 2)

    @staticmethod
    def squash(v: torch.Tensor) -> torch.Tensor:
        square = (v**2).sum(-1, keepdim=True)
        return square / (1 + square) * v / (square + 1e-8).sqrt()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.squash(self.primary(x).unflatten(1, (2, 4)).permute(0, 1, 3, 4, 2).flatten(1, 3))
        votes = torch.einsum("nid,kide->nkie", u, self.votes)
        b = torch.zeros_like(votes[..., :1])
        for _ in range(2):
            v = self.squash((b.softmax(1) * votes).sum(2, keepdim=True))
            b = b + (votes * v).sum(-1, keepdim=True)
        return v.flatten(2).norm(dim=-1)


class Standardised(nn.Conv2d):
    """A kernel of mean 0 and variance 1, as in BiT and NFNets."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True, unbiased=False)
        return functional.conv2d(x, (self.weight - mean) / (variance + 1e-5).sqrt(), self.bias, padding=1)
