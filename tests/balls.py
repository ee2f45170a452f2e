"""Small networks of volumes that see bright balls, and volumes of one ball whose place is known."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, quantize_static

from tests.quantisers import Calibration

SIZE = (12, 20, 16)
SPACING = (2.0, 1.0, 1.5)
"""Millimetres from voxel to voxel."""


def network(shift: int = 0, pads: int = 2, head: str = "classes") -> onnx.ModelProto:
    """Channel 0 is the volume, moved by *shift* ≤ 2 voxels along its first axis, and channel 1 its negative.

    *head*: ``"classes"``, the means of both; ``"cells"``, the channels themselves, a segmentation into ball and rest.
    """
    w = np.zeros((2, 1, 5, 5, 5), np.float32)
    w[0, 0, 2 - shift, 2, 2], w[1, 0, 2 - shift, 2, 2] = 1, -1
    out = [n - 4 + 2 * pads for n in SIZE]
    tail = {
        "classes": ("y", "[n, 2]", "a = Relu(c)\np = GlobalAveragePool(a)\ny = Flatten(p)"),
        "cells": ("y", f"[n, 2, {', '.join(map(str, out))}]", "a = Relu(c)\ny = Conv(a, v, b)"),
    }
    name, shape, nodes = tail[head]
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    balls (float[n, 1, {", ".join(map(str, SIZE))}] x) => (float{shape} {name})
    {{ c = Conv<pads = [{", ".join([str(pads)] * 6)}]>(x, w)
       {nodes} }}
    """
    model = onnx.parser.parse_model(text)
    v = np.array([[-1.0, 0.0], [1.0, 0.0]], np.float32).reshape(2, 2, 1, 1, 1)
    own = {"w": w} | ({"v": v, "b": np.array([0.5, -0.5], np.float32)} if head == "cells" else {})
    model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in own.items())
    return model


def ball(at: Sequence[float], radius: float = 2.0) -> np.ndarray:
    """A bright ball in the dark, float32 `SIZE`, with its largest value at the voxel *at*."""
    places = np.stack(np.meshgrid(*map(np.arange, SIZE), indexing="ij"), -1)
    return np.exp(-((places - np.asarray(at)) ** 2).sum(-1) / radius**2).astype(np.float32)


def inside(at: Sequence[float], radius: float = 2.0) -> np.ndarray:
    """Where the ball of the same arguments is above a half, bool `SIZE`."""
    return np.asarray(ball(at, radius) > 0.5)


def int8(source: Path, target: Path) -> None:
    """Write the static int8 form of *source*."""
    rows = [{"x": ball(at)[None, None]} for at in ((5, 8, 8), (6, 12, 5), (7, 9, 11))]
    logging.disable(logging.WARNING)
    quantize_static(source, target, Calibration(rows), quant_format=QuantFormat.QDQ, per_channel=True)
    logging.disable(logging.NOTSET)
