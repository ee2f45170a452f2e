"""Infer the range of an input from the first convolution: its weights, and the BatchNormalization behind it.

BatchNormalization keeps the mean and the variance of the convolution's outputs over the training images. The weights
say what mean and variance photos have in 0..1; the ratio is the scale of the network's input. In most files the
BatchNormalization is part of the weights, which then make outputs of a variance near 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators

__all__ = ["InputStatistics", "measure", "only_consumer"]

_PASSED = operators(Trait.COPIES) | {"Transpose", "Pad", "QuantizeLinear", "DequantizeLinear"}
_SIDE = operators(Trait.MEASURES)  # read the input's shape, not its values

_FILTERS = 8
"""Fewer filters are no statistics."""
_CONTRAST = 0.27
"""The standard deviation of photos in 0..1."""
_REACH = 9.0
"""The distance, in pixels, at which the correlation of a photo's pixels has fallen to 1/e."""
_COLOURS = np.array([[1.0, 0.93, 0.85], [0.93, 1.0, 0.93], [0.85, 0.93, 1.0]])
"""The correlation of a photo's channels."""
_WEAK = 3.0 / 255
"""Folded weights that answer a photo in 0..1 with less than this expect 0..255."""
_CENTRED = 35.0
"""The mean of an input of 0..255 is above this, that of one with its mean subtracted below."""


@dataclass(frozen=True)
class InputStatistics:
    """The mean and the scale of the values that a network was trained on.

    Attributes:
        scale: The range of the values, in ranges of 0..1: 255 for pixel values, 4.4 after ImageNet's deviation.
        mean: The mean, one number for each channel; None if it is not known.
    """

    scale: float
    mean: tuple[float, ...] | None

    @property
    def preset(self) -> str | None:
        """The name of the preset with these statistics; None if none has them."""
        centred = self.mean is not None and max(map(abs, self.mean)) < _CENTRED / 255 * self.scale
        for name, scale, is_centred in _PRESETS:
            if abs(np.log(self.scale / scale)) < 0.35 and centred is is_centred:
                return name
        return None

    @property
    def order(self) -> str | None:
        """``"rgb"`` or ``"bgr"``, by the mean of photos, which is higher in red than in blue; None if it is close."""
        if self.mean is None or len(self.mean) != 3:
            return None
        excess = (self.mean[0] - self.mean[2]) / (self.scale * _CONTRAST)
        return "rgb" if excess > 0.15 else "bgr" if excess < -0.15 else None


_PRESETS = (
    ("unit", 1.0, False),
    ("inception", 2.0, True),
    ("imagenet", 1 / 0.226, True),
    ("raw", 255.0, False),
    ("caffe", 255.0, True),
)
"""Presets, the range of their values, and whether the mean is near 0."""


def measure(value: ir.Value) -> InputStatistics | None:
    """Return the statistics of the image input *value*; None where the graph does not tell."""
    node = only_consumer(value)
    while node is not None and node.op_type in _PASSED:
        node = only_consumer(node.outputs[0])
    if node is None:
        return None
    if node.op_type == "BatchNormalization":
        mean, variance = (constant(x) for x in node.inputs[3:5])
        return None if mean is None or variance is None else _measured(mean, np.sqrt(np.abs(variance)) / _CONTRAST)
    weights = constant(node.inputs[1]) if node.op_type == "Conv" else None
    if weights is None or weights.ndim != 4 or weights.shape[1] not in (1, 3) or len(weights) < _FILTERS:
        return None
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(len(weights))
    behind = only_consumer(node.outputs[0])
    if bias is None:
        return None
    if behind is not None and behind.op_type == "BatchNormalization":
        mean, variance = (constant(x) for x in behind.inputs[3:5])
        return None if mean is None or variance is None else _kept(weights, mean - bias, variance)
    return _folded(weights, bias)


def only_consumer(value: ir.Value) -> ir.Node | None:
    """Return the node that takes the values of *value*, if it is one."""
    nodes = [node for node in value.consumers() if node.op_type not in _SIDE]
    return nodes[0] if len(nodes) == 1 else None


def _kept(weights: NDArray[Any], mean: NDArray[Any], variance: NDArray[Any]) -> InputStatistics | None:
    """Return the input whose outputs by *weights* have *mean* and *variance*; None if no input fits."""
    sums = weights.sum((2, 3)).astype(np.float64)
    found, *_ = np.linalg.lstsq(sums, mean.astype(np.float64), rcond=None)
    error = np.abs(sums @ found - mean).mean()
    deviation = np.sqrt(np.abs(variance))
    if error > 0.3 * deviation.mean():
        return None
    return _measured(found, deviation / np.maximum(_answers(weights), 1e-12))


def _folded(weights: NDArray[Any], bias: NDArray[Any]) -> InputStatistics | None:
    """Return statistics of 0..255 if a photo in 0..1 would hardly change the outputs; else None."""
    answers = _answers(weights)
    if not 0 < np.median(answers) < _WEAK:
        return None
    scaled = 1 / np.maximum(answers, np.median(answers) / 10)
    sums, wanted = weights.sum((1, 2, 3)) * scaled, -bias * scaled
    mean = float(sums @ wanted / max(float(sums @ sums), 1e-12))
    return InputStatistics(255.0, (mean,))


def _measured(mean: NDArray[Any], ratios: NDArray[Any]) -> InputStatistics | None:
    scale = float(np.median(ratios))
    return InputStatistics(scale, tuple(map(float, np.atleast_1d(mean)))) if np.isfinite(scale) and scale > 0 else None


def _answers(weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return the standard deviation of each filter's output for photos in 0..1."""
    filters, channels, height, width = weights.shape
    place = np.indices((height, width)).reshape(2, -1).T
    apart = np.sqrt(((place[:, None] - place[None]) ** 2).sum(-1))
    pixels, colours = np.exp(-apart / _REACH), _COLOURS[:channels, :channels]
    flat = weights.reshape(filters, channels, -1).astype(np.float64)
    spread = np.einsum("kcp,pq,cd,kdq->k", flat, pixels, colours, flat, optimize=True)
    return _CONTRAST * np.sqrt(np.maximum(spread, 0))
