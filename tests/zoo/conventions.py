"""All conventions of the zoo."""

from __future__ import annotations

import importlib
from pkgutil import iter_modules

from tests import zoo
from tests.zoo.convention import Convention

__all__ = ["CONVENTIONS"]

_OTHERS = {"convention", "conventions", "params", "table", "test_zoo"}
_MODULES = [module.name for module in iter_modules(zoo.__path__) if module.name not in _OTHERS]
CONVENTIONS: list[Convention] = [
    one for name in _MODULES for one in getattr(importlib.import_module(f"tests.zoo.{name}"), "CONVENTIONS", ())
]
