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
    **weights: NDArray[np.generic],
) -> onnx.ModelProto:
    """Return a network with a *head* in ONNX's text format on `a`, and its *outputs*; *weights* are initializers.

    `a` is [N, 2, H, W]: how much brighter and how much darker each pixel is than the mean of the image.
    """
    height, width = size
    shape = f"{height}, {width}, 3" if nhwc else f"3, {height}, {width}"
    start = "t = Transpose<perm = [0, 3, 1, 2]>(image)" if nhwc else "t = Identity(image)"
    model = onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["": 17], producer_name: "{producer}">
        main_graph (float[N, {shape}] image) => ({outputs}) {{
            {start}
            mean = ReduceMean<axes = [1, 2, 3], keepdims = 1>(t)
            r = Sub(t, mean)
            c = Conv(r, brightness)
            a = Relu(c)
            {head}
        }}
        """
    )
    both = np.stack([np.full((3, 1, 1), 0.3), np.full((3, 1, 1), -0.3)]).astype(np.float32)
    for name, value in {"brightness": both, **weights}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return model
