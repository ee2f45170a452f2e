"""Networks of tokens: attention, and what took its place."""

from __future__ import annotations

from tests.optional import functional, nn, torch


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(n, t, c))


class Block(nn.Module):
    def __init__(self, width: int, own: bool) -> None:
        super().__init__()
        self.attention = Attention(width, 2) if own else nn.MultiheadAttention(width, 2, batch_first=True)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.before(x)
        h = self.attention(h) if isinstance(self.attention, Attention) else self.attention(h, h, h)[0]
        x = x + h
        return x + self.mlp(self.after(x))


class ViT(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 5, width))
        self.blocks = nn.Sequential(Block(width, own=True), Block(width, own=False))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


class Windows(nn.Module):
    """As in Swin: shifted windows with a position bias, then patches merged."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches, self.block = nn.Conv2d(3, width, 2, 2), Block(width, own=True)
        self.norm, self.merge, self.head = nn.LayerNorm(4 * width), nn.Linear(4 * width, width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        x = torch.roll(x, (-1, -1), (1, 2)).view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        x = self.block(x.reshape(-1, 4, c)).view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        x = torch.roll(x.reshape(n, h, w, c), (1, 1), (1, 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.head(self.merge(self.norm(x)).mean((1, 2)))


class Mixer(nn.Module):
    """MLP-Mixer: linear layers over the places, then over the channels."""

    def __init__(self, width: int = 8, places: int = 4) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, width, 4, 4), nn.Linear(width, 3)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.places = nn.Sequential(nn.Linear(places, 6), nn.GELU(), nn.Linear(6, places))
        self.channels = nn.Sequential(nn.Linear(width, 16), nn.GELU(approximate="tanh"), nn.Linear(16, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(-2, -1)
        x = x + self.places(self.before(x).transpose(-2, -1)).transpose(-2, -1)
        return self.head((x + self.channels(self.after(x))).mean(1))


class Gated(nn.Module):
    """gMLP: one half of the channels, mixed over the places, gates the other."""

    def __init__(self, width: int = 8, places: int = 4) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, width, 4, 4), nn.Linear(width, 3)
        self.norm, self.gate = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide, self.narrow, self.places = (
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
            nn.Conv1d(places, places, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(-2, -1)
        u, v = functional.gelu(self.wide(self.norm(x))).chunk(2, -1)
        return self.head((x + self.narrow(u * self.places(self.gate(v)))).mean(1))


class ChannelsLast(nn.Module):
    """As in ConvNeXt: a wide depthwise kernel, then normalisation and linear layers over the last axis, and a scale."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem, self.place = nn.Conv2d(3, width, 2, 2), nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.scale = nn.LayerNorm(width), nn.Parameter(torch.rand(width))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = (self.scale * self.mlp(self.norm(self.place(x).permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        return self.head((x + y).mean((-2, -1)))


class Einsum(nn.Module):
    """Attention over a map, in einsum's words, with positions relative in height and width, as in BoTNet."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches, self.qkv = nn.Conv2d(3, width, 2, 2), nn.Conv2d(width, 3 * width, 1, bias=False)
        self.high, self.wide = nn.Parameter(torch.randn(4, 4, 4)), nn.Parameter(torch.randn(4, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.patches(x)).unflatten(1, (3, 2, 4)).unbind(1)
        scores = torch.einsum("nhcij,nhckl->nhijkl", q, k)
        scores = scores + torch.einsum("nhcij,ikc->nhijk", q, self.high)[..., None]
        scores = scores + torch.einsum("nhcij,jlc->nhijl", q, self.wide)[:, :, :, :, None]
        weights = scores.flatten(4).softmax(-1).unflatten(-1, (4, 4))
        return torch.einsum("nhijkl,nhckl->nhcij", weights, v).flatten(1, 2)


class GlobalFilter(nn.Module):
    """GFNet: a learnt complex filter in the spectrum."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.patches, self.filter = nn.Conv2d(3, width, 2, 2), nn.Parameter(torch.randn(width, 4, 3, 2) / 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x)
        spectrum = torch.fft.rfft2(x, norm="ortho") * torch.view_as_complex(self.filter)
        return x + torch.fft.irfft2(spectrum, s=(4, 4), norm="ortho")


class LinearAttention(nn.Module):
    """As in XCiT and EfficientViT: attention that is linear in the number of tokens."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches, self.qkv = nn.Conv2d(3, width, 2, 2), nn.Linear(width, 3 * width)
        self.temperature = nn.Parameter(torch.ones(2, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.patches(x).flatten(2).transpose(-2, -1)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 4, 1)
        across = (
            functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        ).softmax(-1) @ v
        q, k = functional.relu(q) + 1e-2, functional.relu(k) + 1e-2
        return across + (v @ k.transpose(-2, -1)) @ q / (k.sum(-1, keepdim=True) * q).sum(-2, keepdim=True)
