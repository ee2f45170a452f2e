"""What a clean answer is, and what a run did that is none."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT = 10
"""Seconds by the clock after which a command ends by itself: a network may compute for as long as it likes."""
CPU_SECONDS = 2 * TIMEOUT * (os.cpu_count() or 1)
"""ONNX Runtime may use all processors until the command ends."""
WALL_SECONDS = 60
MEMORY = 4 << 30
LONGEST = 2000
UNMADE = 120
"""The exit status of a case whose mutator failed."""

_FRAME = re.compile(r'File "(?P<path>[^"]*)", line (?P<line>\d+),? in (?P<name>.*)')
_UNFORESEEN = re.compile(r"^error: .*unexpected (\w+) in ([\w.<>]+)", re.MULTILINE)
_NOTES = ("warning: ", "note: ", "passed on ", "FAILED on ", "layers: ", "target: ")
_NOTES += ("first result: ", "done: ", "guessed: ", "look first at: ", "next: ")  # the summary of explain
_DRAFT = re.compile(r"^\.|(?<!^recording)\.part$|\.tmp$|\.draft$")  # the next record continues recording.part


@dataclass(frozen=True)
class Ran:
    """What a run left: its words, exit status (negative: the signal), output, and the files before and after."""

    words: list[str]
    status: int
    out: bytes
    err: bytes
    stacks: str
    before: dict[str, str]
    after: dict[str, str]
    temporary: list[str]
    folder: Path


def findings(ran: Ran) -> list[str]:
    """Return what is not clean, each with the place in the program where it is known; empty for a clean answer."""
    if ran.status < 0:
        return [_killed(ran)]
    if ran.status == UNMADE:
        return [f"the case could not be laid out: {ran.err.decode('utf-8', 'replace').splitlines()[-1][:90]}"]
    err = ran.err.decode("utf-8", "surrogateescape")
    if "Traceback (most recent call last)" in err:
        return [_traceback(err)]
    return [*_text("stderr", ran.err), *_text("stdout", ran.out), *_lines(ran, err), *_json(ran), *_files(ran)]


def remarks(ran: Ran) -> list[str]:
    """Return what is clean only because of the net under all commands: unforeseen errors and where, time limits."""
    err = ran.err.decode("utf-8", "replace")
    if "--timeout" in ran.words and "the command took longer than" in err:
        return [f"ended by --timeout: {' '.join(ran.words[:1])}"]
    return [f"caught by the net: {kind} @ {where}" for kind, where in _UNFORESEEN.findall(err)]


def _killed(ran: Ran) -> str:
    name = signal.Signals(-ran.status).name
    what = "hang" if name in ("SIGXCPU", "SIGKILL") else f"killed by {name}"
    main = re.split(r"(?:Thread|Current thread) 0x", ran.stacks)[-1]  # the oldest thread comes last
    return f"{what} @ {_place(main, first=True)}"


def _traceback(err: str) -> str:
    kind = re.search(r"^(?=[A-Za-z])[\w.]+(?=:|$)", err[err.rindex('  File "') :], re.MULTILINE)
    return f"traceback {kind.group() if kind else '?'} @ {_place(err, first=False)}"


def _place(stack: str, *, first: bool) -> str:
    """Return the innermost frame of the program's own in a stack whose innermost frame is the *first* or the last."""
    frames = [m for m in _FRAME.finditer(stack) if re.search(r"/onnxcam(_converters)?/", m["path"])]
    if not frames:
        return "?"
    frame = frames[0 if first else -1]
    path = re.sub(r"^.*?/(?=onnxcam(_converters)?/[^/]+(/[^/]+)*$)", "", frame["path"])
    return f"{path}:{frame['line']} {frame['name']}"


def _text(stream: str, data: bytes) -> Iterator[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        yield f"{stream} is not UTF-8"
        text = data.decode("utf-8", "replace")
    if any(unicodedata.category(char) == "Cc" and char not in "\n\t" for char in text):
        yield f"control characters on {stream}"


def _lines(ran: Ran, err: str) -> Iterator[str]:
    lines = err.rstrip("\n").split("\n")
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    end = errors[0] if errors else len(lines)
    yield from (f"another's line: {_shape(line)}" for line in lines[:end] if line and not line.startswith(_NOTES))
    if any(len(line) > LONGEST for line in lines):
        yield f"a line of more than {LONGEST} characters: {_shape(max(lines, key=len))}"
    if ran.status not in (0, 1, 2):
        yield f"exit code {ran.status}"
    if ran.status == 1 and ran.words[:1] not in (["validate"], ["compare"], ["demo"]):
        yield f"exit code 1 of {ran.words[0]}"
    if ran.status == 2:
        yield from _refusal(lines, errors)


def _refusal(lines: list[str], errors: list[int]) -> Iterator[str]:
    if len(errors) != 1:
        yield f"{len(errors)} lines of error at exit code 2: {_shape(lines[-1] if lines else '')}"
    elif any(line and not line.startswith("  ") for line in lines[errors[0] + 1 :]):  # marks stand below, indented
        yield f"lines behind the error: {_shape(lines[-1])}"


def _shape(line: str) -> str:
    """Return a line without what differs from case to case."""
    return re.sub(r"\(.*?\)|'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|[\d.]+", "#", line)[:90]


def _json(ran: Ran) -> Iterator[str]:
    printed = ran.out.strip()
    if "--json" in ran.words and (printed or ran.status != 2) and not _is_json(printed):
        yield "stdout is no JSON"
    if ran.status == 2:
        return
    for name in sorted(ran.after.keys() - ran.before.keys()):
        if name.endswith(".json") and not _is_json((ran.folder / name).read_bytes()):
            yield f"{Path(name).name} is no JSON"


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except ValueError:
        return False
    return True


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _files(ran: Ran) -> Iterator[str]:
    new = sorted(ran.after.keys() - ran.before.keys())
    folders = [name for name in new if ran.after[name] == "folder"]
    yield from (f"an empty folder is left: {ran.words[0]}" for name in folders if not _holds(ran.after, name))
    yield from (f"a draft is left: {ran.words[0]}" for name in new if _DRAFT.search(Path(name).name))
    yield from (f"a temporary file is left: {ran.words[0]} ({name})" for name in ran.temporary[:1])
    outputs = tuple(_outputs(ran.words))
    for name, digest in ran.before.items():
        if ran.after.get(name) != digest and not name.startswith(outputs):
            yield f"an input is changed or gone: {ran.words[0]}"


def _outputs(words: list[str]) -> Iterator[str]:
    """Yield what the names of the files of a result begin with, which a run may write anew."""
    yield from (f"{after}/" for word, after in itertools.pairwise(words) if word in ("-o", "--output"))


def _holds(files: dict[str, str], folder: str) -> bool:
    return any(name.startswith(f"{folder}/") for name in files)


def printable(value: Any) -> str:
    """Return *value* on one line of ASCII."""
    return ascii(value)[1:-1] if isinstance(value, str) else ascii(value)
