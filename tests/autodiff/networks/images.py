"""From image to image, boxes or text: what is not a classifier."""

from __future__ import annotations

from tests.autodiff.networks.convolutional import conv
from tests.optional import functional, nn, torch


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.top, self.middle, self.bottom = conv(3, 4), conv(4, 6), conv(6, 8)
        self.up, self.join, self.head = nn.ConvTranspose2d(8, 6, 2, 2), conv(12, 4), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.top(x)
        b = self.middle(functional.max_pool2d(a, 2))
        c = self.bottom(functional.avg_pool2d(b, 2))
        b = self.join(torch.cat([self.up(c), b], 1))
        b = functional.interpolate(b, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(torch.cat([a, b], 1))


class Shuffle(nn.Module):
    """Channel split and shuffle, pixel shuffle, group and instance normalisation, reflected borders."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.own = nn.Conv2d(3, 8, 3, 2), conv(4, 4, groups=4, act=nn.SiLU)
        self.norms = nn.Sequential(nn.GroupNorm(2, 8), nn.PReLU(8), nn.InstanceNorm2d(8, affine=True))
        self.head = nn.Conv2d(2, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.conv(functional.pad(x, (1, 1, 1, 1), mode="reflect")).chunk(2, 1)
        x = torch.cat([left, self.own(right)], 1)
        n, c, h, w = x.shape
        x = self.norms(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))
        return self.head(functional.pixel_shuffle(x, 2)).flatten(1).logsumexp(1)


class Volume(nn.Module):
    """V-Net: residual blocks of three dimensions, strided down and transposed up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv3d(1, 4, 5, padding=2), nn.Conv3d(4, 6, 2, 2)
        self.body, self.up = (
            nn.Sequential(nn.Conv3d(6, 6, 3, padding=1), nn.BatchNorm3d(6), nn.PReLU(6)),
            nn.ConvTranspose3d(6, 4, 2, 2),
        )
        self.head = nn.Conv3d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = functional.elu(self.stem(x) + x)
        b = functional.elu(self.down(a))
        return self.head(torch.cat([a, self.up(b + self.body(b))], 1)).softmax(1)


class SuperResolution(nn.Module):
    """EDSR: residual blocks without normalisation, then pixels out of channels, on top of a bicubic image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        y = functional.pixel_shuffle(self.tail(y + 0.1 * self.body(y)), 2)
        return y + functional.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)


class Yolo(nn.Module):
    """YOLO: two scales, distances as expectations of softmax (DFL), decoded into boxes on grids of anchors."""

    def __init__(self, bins: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.bins = bins
        self.fine, self.coarse, self.pool = (
            conv(3, 6, act=nn.SiLU),
            conv(6, 6, stride=2, act=nn.SiLU),
            nn.MaxPool2d(5, 1, 2),
        )
        self.join = conv(12, 6, 1, act=nn.SiLU)
        self.heads = nn.ModuleList(nn.Conv2d(6, 4 * bins + classes, 1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.fine(x)
        b = self.coarse(a)
        b = b + self.pool(b)
        a = self.join(torch.cat([a, functional.interpolate(b, scale_factor=2, mode="nearest")], 1))
        found = [self.decode(head(y), stride) for head, y, stride in zip(self.heads, (a, b), (8, 16), strict=True)]
        return torch.cat(found, 2)

    def decode(self, y: torch.Tensor, stride: int) -> torch.Tensor:
        h, w = y.shape[-2:]
        rows, columns = torch.arange(h, dtype=y.dtype) + 0.5, torch.arange(w, dtype=y.dtype) + 0.5
        centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).flatten(1)
        distances, scores = y.flatten(2).split((4 * self.bins, y.shape[1] - 4 * self.bins), 1)
        weights = distances.unflatten(1, (4, self.bins)).softmax(2)
        first, second = (weights * torch.arange(self.bins, dtype=y.dtype)[:, None]).sum(2).chunk(2, 1)
        low, high = centres - first, centres + second
        return torch.cat([(low + high) / 2 * stride, (high - low) * stride, scores.sigmoid()], 1)


class Pyramid(nn.Module):
    """FPN: three scales, from coarse to fine, each enlarged to the size of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, 4), conv(4, 6, stride=2), conv(6, 8, stride=2)])
        self.side, self.out = nn.ModuleList(nn.Conv2d(a, 4, 1) for a in (4, 6, 8)), nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = []
        for layer in self.down:
            x = layer(x)
            maps.append(x)
        y = self.side[2](maps[2])
        for i in (1, 0):
            y = self.side[i](maps[i]) + functional.interpolate(y, size=maps[i].shape[-2:], mode="nearest")
        return self.out(y)


class SpatialTransformer(nn.Module):
    """The image warped by an affine map that it tells itself."""

    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6))
        self.body = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turn = 0.1 * self.locate(x).view(-1, 2, 3) + torch.tensor([[0.9, 0.1, 0.05], [-0.1, 0.9, 0.02]], dtype=x.dtype)
        place = torch.linspace(-0.875, 0.875, 8, dtype=x.dtype)
        rows, columns = torch.meshgrid(place, place, indexing="ij")
        grid = torch.einsum("hwc,ndc->nhwd", torch.stack([columns, rows, torch.ones_like(rows)], -1), turn)
        return self.body(functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False))


class Style(nn.Module):
    """Fast style transfer: reflected borders, instance normalisation, enlarged by repetition."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.ReflectionPad2d(2),
            nn.Conv2d(3, 4, 5),
            nn.InstanceNorm2d(4, affine=True),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, 2, 1),
        )
        self.up = nn.Sequential(
            nn.InstanceNorm2d(6),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.ReplicationPad2d(1),
            nn.Conv2d(6, 3, 3),
            nn.Tanh(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.down(x))


class Reader(nn.Module):
    """CRNN: columns of a map read by a bidirectional LSTM, a distribution of letters for each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 4), nn.MaxPool2d((2, 1)), conv(4, 6))
        self.read, self.head = nn.LSTM(24, 5, bidirectional=True, batch_first=True), nn.Linear(10, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = self.body(x).flatten(1, 2).transpose(-2, -1)
        return self.head(self.read(columns)[0]).log_softmax(-1)


class ContextPooling(nn.Module):
    """DeepLab and PSPNet: dilated kernels and pooled maps, enlarged again and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.dilated = nn.ModuleList(nn.Conv2d(4, 2, 3, padding=rate, dilation=rate) for rate in (1, 2, 3))
        self.pooled, self.head = nn.ModuleList(nn.Conv2d(4, 2, 1) for _ in range(3)), nn.Conv2d(12, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        maps = [layer(x) for layer in self.dilated]
        for layer, cells in zip(self.pooled, (1, 2, 4), strict=True):
            y = layer(functional.adaptive_avg_pool2d(x, cells))
            maps.append(functional.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=True))
        return self.head(torch.cat(maps, 1))


class Unpooling(nn.Module):
    """SegNet-like: upsampling by transposed kernels with a stride, an output padding and groups."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1, groups=2)
        self.act, self.head = nn.GLU(1), nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.up(functional.mish(self.down(x)))))
