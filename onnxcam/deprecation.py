"""Old names: each works until version `ENDS`, and warns with the new one at the line that uses it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from onnxcam.errors import warn_caller

__all__ = ["ENDS", "sentence", "takes_old_names", "warn_renamed"]

ENDS = "0.3"
"""The version in which the old names of 0.1 are gone."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def sentence(old: str, new: str) -> str:
    """Return the warning for *old*, which is called *new* now."""
    return f"{old} is {new} now; the old name ends with version {ENDS}"


def warn_renamed(old: str, new: str) -> None:
    """Warn that *old* is *new* now, at the line outside onnxcam that uses *old*."""
    warn_caller(sentence(old, new), DeprecationWarning)


def takes_old_names(**renamed: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorate a function whose keyword arguments were called otherwise: *renamed* has the new name of each old one.

    Raises:
        TypeError: when called with both the old and the new name.

    Example:
        >>> @takes_old_names(alpha="opacity")
        ... def overlay(opacity="value"): ...
    """

    def decorated(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for old in renamed.keys() & kwargs.keys():
                new = renamed[old]
                if new in kwargs:
                    raise TypeError(f"{function.__name__}() got both {new}= and its old name {old}=; give {new}= alone")
                warn_renamed(f"{function.__name__}({old}=)", f"{new}=")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return called

    return decorated
