"""Methods of other packages: the entry points of the group ``onnxcam.methods``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from onnxcam.text import first_line

__all__ = ["GROUP", "load_installed"]

GROUP = "onnxcam.methods"
"""The group of entry points. A name is for the reader; the module that it names registers its methods."""


@cache
def load_installed() -> tuple[str, ...]:
    """Import the modules that installed packages enter, once; return a line for each that fails."""
    return tuple(line for entry in entry_points(group=GROUP) if (line := _failure(entry)))


def _failure(entry: EntryPoint) -> str:
    """Import *entry*; return why it fails, nothing if it does not."""
    try:
        entry.load()
    except Exception as error:  # whatever another package's code raises
        home = f" of {entry.dist.name}" if entry.dist is not None else ""
        return (
            f"the entry point {entry.name!r}{home} fails ({entry.value}): {type(error).__name__}: {first_line(error)}"
        )
    return ""
