"""Python literals that other tools wrote into a model's metadata."""

from __future__ import annotations

import ast
from typing import Any

__all__ = ["literal"]

_MAX_LITERAL = 2**22


def literal(text: str) -> Any:
    """Return the value of *text*, a Python literal; None for other text, or for one that is too long or too deep."""
    try:
        return ast.literal_eval(text) if len(text) <= _MAX_LITERAL else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
