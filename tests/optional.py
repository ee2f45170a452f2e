"""PyTorch where it is installed; elsewhere, its use skips the test, or the module that uses it at import."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest


class Missing:
    """A module that is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        pytest.skip("PyTorch is not installed", allow_module_level=True)


def optional(name: str) -> Any:
    """Return the module *name*, or a `Missing` one."""
    return importlib.import_module(name) if importlib.util.find_spec(name.partition(".")[0]) else Missing(name)


torch, nn, functional = optional("torch"), optional("torch.nn"), optional("torch.nn.functional")
