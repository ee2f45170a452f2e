"""The command line, one file a command: parse, call one library function, print."""

from __future__ import annotations

import functools
import inspect as inspect_
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import typer

from onnxcam import __version__
from onnxcam.cli import (
    audit,
    bake,
    batch,
    compare,
    compare_methods,
    demo,
    diagnose,
    evaluate,
    explain,
    export,
    inspect,
    instrument,
    labels,
    merge,
    models,
    modules,
    pack,
    process,
    record,
    repair,
    serve,
    validate,
    web,
)
from onnxcam.cli.help import Command, Commands
from onnxcam.errors import OnnxcamError

# Typer has a copy of Click of its own in newer versions; this is Click's base of usage errors in either.
_UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="onnxcam",
    cls=Commands,
    help="Explain any ONNX vision model, anywhere ONNX Runtime runs.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    explain,
    batch,
    merge,
    audit,
    compare_methods,
    evaluate,
    validate,
    diagnose,
    repair,
    record,
    compare,
    bake,
    pack,
    inspect,
    labels,
    instrument,
    models,
    export,
    demo,
    web,
    serve,
)
_COMMON: dict[str, tuple[Any, Any]] = {
    "timeout": (
        Annotated[
            float | None,
            typer.Option(
                "--timeout", min=0.001, help="Stop after this many seconds, with exit code 2.", show_default=False
            ),
        ],
        None,
    ),
    "custom_ops": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--custom-ops",
                help="Library of custom operators of the model, such as libmy_ops.so; onnxruntime_extensions is that "
                "package's; repeatable.",
                show_default=False,
            ),
        ],
        None,
    ),
    "imports": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--import",
                help="Module or .py file to import first: your own methods, targets, rules or metrics; repeatable.",
                show_default=False,
            ),
        ],
        None,
    ),
    "debug": (Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")], False),
}


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")
) -> None:
    if version:
        typer.echo(f"onnxcam {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Run the command line. Bad input ends with one line, ``error: …``, and exit code 2."""
    words = sys.argv[1:]
    process.run(lambda: _run(words), words, debug="--debug" in words, timeout=_seconds(words))


def _run(words: list[str]) -> int | None:
    try:
        return app(words, prog_name="onnxcam", standalone_mode=False)
    except _UsageError as error:
        raise OnnxcamError(f"{error.format_message()} (see onnxcam --help)") from error
    except typer.Abort:
        return 130


def _seconds(words: list[str]) -> float | None:
    """Return the value of ``--timeout``, read early so that it also limits the time of imports."""
    found = [word.partition("=")[2] for word in words if word.startswith("--timeout=")]
    found += [after for word, after in pairwise(words) if word == "--timeout"]
    try:
        seconds = float(found[-1]) if found else None
    except ValueError:
        return None  # Typer reports it
    return seconds if seconds is not None and 0 < seconds < threading.TIMEOUT_MAX else None


def _with_common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return *command* with the options of all commands; `main` reads their values."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        common = {name: options.pop(name) for name in _COMMON}
        modules.load(common["imports"], common["custom_ops"])
        return command(**options)

    own = inspect_.signature(command, eval_str=True)
    added = [
        inspect_.Parameter(name, inspect_.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _COMMON.items()
    ]
    wrapped.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in wrapped.__signature__.parameters.values()}  # type: ignore[attr-defined]
    return wrapped


for _command in _COMMANDS:
    app.command(_command.__name__.rpartition(".")[2].replace("_", "-"), cls=Command)(_with_common(_command.command))
