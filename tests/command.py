"""The result of a command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str
