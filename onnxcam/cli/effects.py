"""Options that have no effect beside others: a usage error where the user gives one."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import typer

__all__ = ["remember", "require_no_effect_is_asked"]

_CONTEXT: ContextVar[Any] = ContextVar("context")  # of the command that runs; Typer's newer versions hide Click's


def remember(context: Any) -> None:
    """Keep the Click context of the command that starts: it knows which options the user gave."""
    _CONTEXT.set(context)


def require_no_effect_is_asked(names: str, because: str, instead: str = "leave it out") -> None:
    """Raise a usage error for the first of the parameters *names* of the command that the user gave.

    It reads "--dpi has no effect *because*; *instead*".
    """
    context = _CONTEXT.get()
    flags = {param.name: param.opts[0] for param in context.command.params}
    for name in names.split():
        if context.get_parameter_source(name).name in ("COMMANDLINE", "ENVIRONMENT"):
            raise typer.BadParameter(f"{flags[name]} has no effect {because}; {instead}")
