"""The help: every command and option has its place, and the examples are valid command lines."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from onnxcam.cli import app, main
from onnxcam.cli.help import COMMANDS, EXAMPLES, PURPOSES
from tests.command import Ran


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    """Every command by its name."""
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_command_has_a_purpose_and_two_examples_that_parse(commands: dict[str, Any]) -> None:
    assert sorted(name for names in COMMANDS.values() for name in names) == sorted(commands)
    assert EXAMPLES.keys() == commands.keys()
    for name, lines in EXAMPLES.items():
        assert len(lines) == 2
        for line in lines:
            program, command, *words = shlex.split(line)
            assert (program, command) == ("onnxcam", name)
            commands[name].make_context(name, words)


def test_every_purpose_names_options_that_there_are(commands: dict[str, Any]) -> None:
    known = {param.name for command in commands.values() for param in command.params} | {"help"}
    listed = [name for names in PURPOSES.values() for name in names.split()]
    assert len(listed) == len(set(listed))
    assert set(listed) <= known


def test_the_help_is_grouped(onnxcam: Callable[..., Ran]) -> None:
    said = onnxcam("explain", "--help").out
    places = [said.index(f"\n{title}:\n") for title in ("What to explain", "How", "What is written", "How it runs")]
    assert places == sorted(places)
    assert said.rstrip().endswith(EXAMPLES["explain"][-1])


def test_the_help_is_short_and_plain(onnxcam: Callable[..., Ran], commands: dict[str, Any]) -> None:
    assert "..." not in onnxcam("-h").out.partition("\nExplain:\n")[2]
    for name in ("serve", "web"):
        others = (
            onnxcam(name, "-h").out.partition("More options:")[2].partition("Examples:")[0]
        )  # older versions of Typer list --help there
        assert "--model" not in others
        assert "--port" not in others
    assert "list[" not in "".join(onnxcam(name, "-h").out for name in commands)


def test_without_words_the_help_is_printed(onnxcam: Callable[..., Ran]) -> None:
    ran = onnxcam()
    assert (ran.code, ran.err) == (2, "")
    assert ran.out == onnxcam("-h").out


def test_a_shell_completes_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"_ONNXCAM_COMPLETE": "complete_bash", "COMP_WORDS": "onnxcam ins", "COMP_CWORD": "1"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["onnxcam"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.split() == ["inspect", "instrument"]
