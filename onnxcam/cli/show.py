"""Output of the commands: tables at a terminal, tab-separated lines when piped; notes go to stderr."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from onnxcam.cli.tables import print_table
from onnxcam.paths import is_address, left_out
from onnxcam.structure.layer import Choice
from onnxcam.text import plain, to_json

if TYPE_CHECKING:
    from onnxcam.converters import Conversion
    from onnxcam.shard_results import ShardSummary

T = TypeVar("T")
LONGEST = 4000  # maximum characters of a line

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* as a table, or tab-separated when piped. A column named ``"# …"`` is right-aligned."""
    cells = [[plain(cell) for cell in row] for row in rows]
    if out.is_terminal:
        print_table(columns, cells, out)
        return
    header = [column.removeprefix("# ") for column in columns]
    for row in ([header] if any(header) else []) + cells:
        print("\t".join(row))


def json(value: Any) -> None:
    """Print *value* as JSON."""
    sys.stdout.write(to_json(value) + "\n")


def print_out(text: str, style: str | None = None) -> None:
    """Print a line to stdout."""
    out.print(plain(text, LONGEST), style=style, markup=False, soft_wrap=True)


def print_err(text: str, style: str | None = None) -> None:
    """Print a line to stderr."""
    err.print(plain(text, LONGEST), style=style, markup=False, soft_wrap=True)


def explanations(entries: Sequence[dict[str, Any]], folder: Path) -> None:
    """Print one row per explanation, at a terminal with file names and labels, when piped with paths and targets."""

    def named(entry: dict[str, Any]) -> str:
        label, words = entry["target"]["label"], str(entry["words"])
        return f"{label}: {words}" if out.is_terminal and label and label != words else words

    def path(text: str) -> str:
        return Path(text).name if out.is_terminal else text

    _concepts([entry for entry in entries if "concepts" in entry], path)
    rows = [
        (
            path(entry["image"]),
            named(entry),
            f"{entry['score']:.3f}",
            _probability(entry),
            _map_box(entry),
            path(entry["overlay"] or entry["raw"]),
        )
        for entry in entries
        if "concepts" not in entry
    ]
    if rows:
        table(("image", "target", "# score", "# probability", "map's box", "overlay"), rows)
    for entry in entries:
        if entry["parts"] is not None:
            print_out(" ".join(f"{each['part']} {each['weight']:.2f}" for each in entry["parts"]))
    where(folder)


def _map_box(entry: dict[str, Any]) -> str:
    """Return the box around the map's strongest part; one that is all that the network sees shows no place."""
    if entry["box"] is None:
        return ""
    return "all seen" if entry.get("box_is_all_seen") else ",".join(map(str, entry["box"]))


def _probability(entry: dict[str, Any]) -> str:
    """Return the probability in words, of a contrast those of both sides."""
    found = [entry["probability"], entry.get("probability_against")]
    return " against ".join(f"{one:.1%}" for one in found if one is not None)


def _concepts(entries: Sequence[dict[str, Any]], path: Callable[[str], str]) -> None:
    """Print one row per concept of an image."""
    rows = [
        (
            path(entry["image"]),
            str(one["concept"]),
            one["colour"],
            one["label"] or ("" if one["index"] is None else str(one["index"])),
            "" if one["probability"] is None else f"{one['probability']:.1%}",
            f"{one['share']:.1%}",
            path(entry["overlay"] or entry["raw"]),
        )
        for entry in entries
        for one in entry["concepts"]
    ]
    if rows:
        table(("image", "# concept", "colour", "class", "# probability", "# share", "overlay"), rows)


def shard(summary: ShardSummary, folder: Path, *, as_json: bool) -> None:
    """Print that a shard is complete, and what was left out."""
    if as_json:
        json(summary.as_dict())
    else:
        done = summary.pictures - len(summary.unreadable)
        rows = [("images", f"{done}"), ("left out", f"{len(summary.unreadable)}")]
        table((f"shard {summary.shard}", "# count"), rows)
        where(folder)
    warnings(left_out(summary.unreadable))
    print_err(f"shard {summary.shard} is complete; `onnxcam merge` joins all shards")


def where(folder: str | os.PathLike[str]) -> None:
    """At a terminal, print the folder of the files, or their address."""
    if out.is_terminal:
        out.print()
        print_out(f"in {os.fspath(folder).rstrip('/')}{'/' if is_address(folder) else os.sep}")


def next_step(command: str) -> None:
    """Print to stderr a command that may come next."""
    print_err(f"next: {command}", "dim")


def notes(choice: Choice | None, entries: Sequence[dict[str, Any]]) -> None:
    """Print the chosen layer with its reason, and each warning once, to stderr."""
    if choice is not None and err.is_terminal:
        print_err(f"layer: {choice.layer}: {choice.reason}", "dim")
        if choice.others:
            others = "; ".join(str(layer) for layer in choice.others)
            print_err(f"runners-up: {others}", "dim")
    for note in dict.fromkeys(entry["note"] for entry in entries if entry["note"]):
        print_err(f"target: {note}", "dim")
    for warning in dict.fromkeys(warning for entry in entries for warning in entry["warnings"]):
        print_err(f"warning: {warning}{_of_some(warning, entries)}", "yellow")


def _of_some(warning: str, entries: Sequence[dict[str, Any]]) -> str:
    """Return which images a *warning* is about, where it is not about all of *entries*."""
    every = dict.fromkeys(entry["image"] for entry in entries)
    some = list(dict.fromkeys(entry["image"] for entry in entries if warning in entry["warnings"]))
    if len(some) == len(every):
        return ""
    return f" ({some[0]})" if len(some) == 1 else f" ({some[0]} and {len(some) - 1} more of {len(every)} images)"


def explaining(items: Iterable[T], total: int) -> Iterable[T]:
    """Yield the images to explain with a progress bar, if stderr is a terminal."""
    return _tracked(items, "explaining", total)


def passes(samples: Iterable[T], total: int) -> Iterable[T]:
    """Yield the *samples* of a method with a progress bar, if stderr is a terminal."""
    return _tracked(samples, "asking the network", total)


def measuring(items: Iterable[T], total: int) -> Iterable[T]:
    """Yield the *items* of an evaluation with a progress bar, if stderr is a terminal."""
    return _tracked(items, "measuring", total)


def recording(items: Iterable[T], total: int) -> Iterable[T]:
    """Yield the images of a recording with a progress bar, if stderr is a terminal."""
    return _tracked(items, "recording", total)


def warnings(texts: Iterable[str]) -> None:
    """Print each warning once, to stderr."""
    for text in dict.fromkeys(texts):
        print_err(f"warning: {text}", "yellow")


def comparing(items: Iterable[T], total: int) -> Iterable[T]:
    """Yield the images of a validation with a progress bar, if stderr is a terminal."""
    return _tracked(items, "comparing", total)


def diagnosing(items: Iterable[T], total: int) -> Iterable[T]:
    """Yield the images of a diagnosis with a progress bar, if stderr is a terminal."""
    return _tracked(items, "diagnosing", total)


def _tracked(items: Iterable[T], description: str, total: int) -> Iterable[T]:
    from onnxcam.cli import progress_lines

    if err.is_terminal:
        return progress_lines.bar(items, description, total, err)
    return progress_lines.lines(items, description, total, print_err, time.monotonic)


def waiting(text: str) -> AbstractContextManager[Any]:
    """Show a spinner, if stderr is a terminal."""
    return err.status(text) if err.is_terminal else nullcontext()


def conversion(made: Conversion) -> None:
    """Print the result of a conversion, its verification, and the next command."""
    rows = [
        (
            row.kind if row.precision == "float32" else f"{row.kind} ({row.precision})",
            row.name,
            row.feed,
            f"{row.absolute:.1e}",
            f"{row.relative:.1e}",
            "" if row.tolerance is None else f"{row.tolerance:.0e}",
            f"{row.cosine:.4f}" if row.precision == "int8" else "",
        )
        for row in made.verification
    ]
    columns = ("compared", "tensor", "on", "# max |Δ|", "# relative", "# tolerance", "# cosine")
    with_cosine = any(row[-1] for row in rows)
    table(columns[: None if with_cosine else -1], [row[: None if with_cosine else -1] for row in rows])
    if made.outputs:
        if out.is_terminal:
            out.print()
        table(("new output", "meaning"), made.outputs)
    for warning in made.warnings:
        print_err(f"warning: {warning}", "yellow")
    if out.is_terminal:
        out.print(f"\n{made.path}: written by {made.exporter}", markup=False, soft_wrap=True)
    next_step(f"onnxcam explain {shlex.quote(str(made.path))} img.jpg")
