"""The case table: for every rule, the inputs and attributes under which its gradient is checked."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from onnxcam.testing import check_grads, node_model


@dataclass(frozen=True)
class Case:
    """One node, its inputs, and how its gradient is checked."""

    op: str
    name: str
    inputs: Mapping[str, Any]
    constants: tuple[str, ...] = ()  # inputs that are initializers
    outputs: int | tuple[str, ...] = 1
    opset: int = 18
    attributes: Mapping[str, Any] = field(default_factory=dict)
    order: int = 2
    domain: str = ""
    symbolic: bool = True  # also with every axis of every input symbolic
    check: Mapping[str, Any] = field(default_factory=dict)  # further arguments of check_grads

    def model(self, shapes: Mapping[str, Any] | None = None) -> onnx.ModelProto:
        constants = {name: self.inputs[name] for name in self.constants}
        opset = self.opset if shapes is None else max(self.opset, 21)  # so each rule is tried at two opsets
        return node_model(
            self.op, self.inputs, constants, self.outputs, opset, shapes, domain=self.domain, **self.attributes
        )

    def run(self, symbolic: bool = False) -> None:
        feeds = {name: x for name, x in self.inputs.items() if x is not None and name not in self.constants}
        shapes = {name: [f"{name}{i}" for i in range(np.ndim(x))] for name, x in feeds.items()} if symbolic else None
        order = 1 if symbolic else self.order
        check_grads(self.model(shapes), feeds, **{"order": order, **self.check})

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"


def case(
    op: str,
    name: str,
    inputs: Mapping[str, Any],
    constants: tuple[str, ...] = (),
    *,
    outputs: int | tuple[str, ...] = 1,
    opset: int = 18,
    order: int = 2,
    symbolic: bool = True,
    check: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> Case:
    return Case(
        op,
        name,
        inputs,
        constants,
        outputs,
        opset,
        attributes=attributes,
        order=order,
        symbolic=symbolic,
        check=check or {},
    )


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32, the same for the same shape and seed."""
    rng = np.random.default_rng(zlib.crc32(repr((shape, seed)).encode()))
    return rng.standard_normal(shape).astype(np.float32)


def uniform(*shape: int, low: float = 0.0, high: float = 1.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(repr((shape, seed)).encode()))
    return rng.uniform(low, high, shape).astype(np.float32)


def distinct(*shape: int, gap: float = 0.1, seed: int = 0) -> np.ndarray:
    """Values at least *gap* apart and away from zero, in random order: no ties, no kinks at 0."""
    size = int(np.prod(shape))
    rng = np.random.default_rng(zlib.crc32(repr((shape, seed)).encode()))
    values = (np.arange(size) - size // 2 + 0.5) * gap
    return rng.permutation(values).reshape(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)
