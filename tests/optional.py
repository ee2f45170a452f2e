"""Optional libraries and older versions: what they cannot do skips the test, or the module that imports them."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import version
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


def libraries_of(method: str) -> None:
    """Skip the test where a library that makes *method* is missing."""
    if library := {"kernelshap": "shap", "lime": "lime", "xrai": "skimage", "sobol": "scipy", "dff": "sklearn"}.get(
        method
    ):
        pytest.importorskip(library, reason="the extra of the method is not installed")


def is_older(library: str, than: str) -> bool:
    """Return whether the installed *library* is older than the version *than*, as 1.24."""
    return tuple(map(int, version(library).split(".")[:2])) < tuple(map(int, than.split(".")))


def not_before(library: str, first: str, reason: str) -> None:
    """Skip the test where *library* is older than the version *first*."""
    if is_older(library, first):
        pytest.skip(f"{library} before {first}: {reason}")
