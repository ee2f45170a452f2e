"""The command line, one file a command: parse, call one library function, print."""

from __future__ import annotations

import sys
from typing import Any

import typer

from onnxcam import __version__
from onnxcam.cli import bake, demo, evaluate, explain, export, inspect, instrument, validate
from onnxcam.errors import OnnxcamError

# Typer has a copy of Click of its own in newer versions; this is Click's base of usage errors in either.
_UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="onnxcam",
    help="Explain any ONNX vision model, anywhere ONNX Runtime runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (explain, evaluate, validate, bake, inspect, instrument, export, demo):
    app.command(_command.__name__.rpartition(".")[2])(_command.command)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(f"onnxcam {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. Bad input ends with one line, ``error: …``, and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except OnnxcamError as error:
        _fail(str(error))
    except _UsageError as error:
        message = error.format_message()
        _fail(f"{message} (onnxcam --help tells more)")
    except typer.Abort:
        sys.exit(130)


def _fail(message: str) -> None:
    first, *marked = message.split("\n  ")  # words that do not parse stand below, with a mark under the place
    typer.echo("\n  ".join(["error: " + " ".join(first.split()), *marked]), err=True)
    sys.exit(2)
