"""PyTorch's exporter reads its operators once a session, and not once an export: 0.6 s of 1.7 s of a small network."""

from __future__ import annotations

import copy
import functools
import sys
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _operators_once() -> None:
    if "torch" not in sys.modules:
        return
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:  # of another PyTorch, which reads them each time
        return
    read = functools.cache(ONNXRegistry.from_torchlib)

    def from_torchlib(*_: Any, **settings: Any) -> ONNXRegistry:
        registry = copy.copy(read(**settings))
        registry.functions = {target: list(found) for target, found in registry.functions.items()}
        return registry

    ONNXRegistry.from_torchlib = from_torchlib
