"""Small networks of the families that people deploy, by name: makers, the shape of their input, and what to mind."""

from __future__ import annotations

from collections.abc import Callable

from tests.autodiff.networks.attention import (
    ChannelsLast,
    Einsum,
    Gated,
    GlobalFilter,
    LinearAttention,
    Mixer,
    ViT,
    Windows,
)
from tests.autodiff.networks.convolutional import (
    BlurPool,
    Branches,
    Capsules,
    ChannelAndPlace,
    Classifier,
    Dense,
    Ghost,
    Inverted,
    Reparametrised,
    Residual,
    Selective,
    Shuffled,
    SqueezeExcite,
    Standardised,
    conv,
)
from tests.autodiff.networks.images import (
    ContextPooling,
    Pyramid,
    Reader,
    Shuffle,
    SpatialTransformer,
    Style,
    SuperResolution,
    UNet,
    Unpooling,
    Volume,
    Yolo,
)
from tests.optional import nn

parametrizations = nn.utils.parametrizations

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: Classifier(
        conv(3, 4, stride=2), nn.MaxPool2d(3, 2, 1), Residual(4, 4, 1), Residual(4, 6, 2), width=6
    ),
    "mobilenet": lambda: Classifier(conv(3, 4, stride=2, act=nn.Hardswish), Inverted(4), Inverted(4), width=4),
    "densenet": lambda: Classifier(
        nn.Conv2d(3, 4, 3), Dense(4, 2, 3), nn.Conv2d(10, 4, 1), nn.AvgPool2d(2), Dense(4, 2, 2), width=8
    ),
    "inception": lambda: Classifier(conv(3, 4, stride=2), Branches(4), nn.MaxPool2d(2, ceil_mode=True), width=7),
    "alexnet": lambda: Classifier(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.LocalResponseNorm(3), nn.MaxPool2d(3, 2), width=4),
    "vit": ViT,
    "swin": Windows,
    "unet": UNet,
    "shuffle": Shuffle,
    "googlenet": lambda: Classifier(
        conv(3, 6), nn.LocalResponseNorm(5, alpha=0.1, k=2), nn.MaxPool2d(3, 2, ceil_mode=True), Branches(6), width=7
    ),
    "shufflenet": lambda: Classifier(conv(3, 8, stride=2), Shuffled(8), Shuffled(8), width=8),
    "ghostnet": lambda: Classifier(conv(3, 4, stride=2), Ghost(4, 7), Ghost(7, 6), SqueezeExcite(6), width=6),
    "repvgg": lambda: Classifier(conv(3, 6, stride=2), Reparametrised(6), Reparametrised(6), width=6),
    "cbam": lambda: Classifier(conv(3, 6), ChannelAndPlace(6), nn.AvgPool2d(2), ChannelAndPlace(6), width=6),
    "sknet": lambda: Classifier(conv(3, 6, stride=2), Selective(6), width=6),
    "blurpool": lambda: Classifier(conv(3, 4), nn.MaxPool2d(2, 1), BlurPool(4), conv(4, 6), width=6),
    "weight_norm": lambda: Classifier(
        parametrizations.weight_norm(nn.Conv2d(3, 6, 3)), nn.SELU(), Standardised(6, 6, 3), nn.Softplus(), width=6
    ),
    "capsules": lambda: nn.Sequential(conv(3, 4), Capsules(4)),
    "mixer": Mixer,
    "gmlp": Gated,
    "convnext": ChannelsLast,
    "botnet": Einsum,
    "gfnet": GlobalFilter,
    "xcit": LinearAttention,
    "vnet": Volume,
    "edsr": SuperResolution,
    "yolo": Yolo,
    "fpn": Pyramid,
    "spatial_transformer": SpatialTransformer,
    "style": Style,
    "crnn": Reader,
    "deeplab": ContextPooling,
    "segnet": Unpooling,
}

SHAPES = {"vnet": (2, 1, 4, 4, 4), "crnn": (2, 3, 8, 6)}
"""Of the input, where it is not two images of 8 × 8."""

SINGLE = {"inception", "googlenet", "yolo", "blurpool", "crnn", "segnet", "spatial_transformer"}
"""Those that run in float32 on ONNX Runtime: of what they need, the reference evaluator lacks some or fails at it.

(Indices of a max pool with stride 1, transposed kernels in groups, samples of a grid of many points, an LSTM.)
"""
