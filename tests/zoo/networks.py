"""Tiny networks of the zoo: what they have in common, and heads as text."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

__all__ = ["bright"]


def bright(
    outputs: str,
    head: str,
    producer: str = "pytorch",
    size: tuple[object, object] = (64, 64),
    nhwc: bool = False,
    batch: object = "N",
    channels: int = 3,
    image: str = "image",
    others: str = "",
    **weights: NDArray[np.generic],
) -> onnx.ModelProto:
    """Return a network with a *head* in ONNX's text format on `a`, and its *outputs*; *weights* are initializers.

    It takes an *image* of *size* and so many *channels*, and *others*, further inputs in the same format.
    `a` is [N, 2, H, W]: how much brighter and how much darker each pixel is than the mean of the image.
    """
    height, width = size
    shape = f"{height}, {width}, {channels}" if nhwc else f"{channels}, {height}, {width}"
    start = f"t = Transpose<perm = [0, 3, 1, 2]>({image})" if nhwc else f"t = Identity({image})"
    more = f", {others}" if others else ""
    model = onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["": 17], producer_name: "{producer}">
        main_graph (float[{batch}, {shape}] {image}{more}) => ({outputs}) {{
            {start}
            mean = ReduceMean<axes = [1, 2, 3], keepdims = 1>(t)
            r = Sub(t, mean)
            c = Conv(r, brightness)
            a = Relu(c)
            {head}
        }}
        """
    )
    one = np.full((channels, 1, 1), 0.9 / channels, np.float32)
    for name, value in {"brightness": np.stack([one, -one]), **weights}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return model
