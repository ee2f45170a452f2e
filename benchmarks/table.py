"""Rows as a Markdown table, between two markers of the README."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
HEAD = ("| | on | goal | measured | | medians |", "|---|---|---:|---:|---|---|")
PACKAGES = (
    "onnxcam",
    "onnxruntime",
    "torch",
    "onnx",
    "onnx-ir",
    "grad-cam",
    "torchcam",
    "captum",
    "onnx-ad",
    "dianna",
    "numpy",
)


@dataclass(frozen=True)
class Row:
    """One line of the table: *value* in *unit*, and the goal it is held against."""

    what: str
    network: str
    value: float
    unit: str
    detail: str
    goal: float | None = None
    at_least: bool = False

    @property
    def passes(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def written(rows: Iterable[Row]) -> str:
    """Return the table, with the date, the machine and the versions above it."""
    lines = [
        f"Measurement {datetime.date.today()} on {machine()}, Python {platform.python_version()}, {versions()}.",
        "",
        *HEAD,
    ]
    return "\n".join([*lines, *map(line, rows)])


def line(row: Row) -> str:
    """Return *row* as a line of the table."""
    mark = {None: "", True: "pass", False: "**short**"}[row.passes]
    return f"| {row.what} | {row.network} | {_goal(row)} | {_number(row)} | {mark} | {row.detail} |"


def replace(readme: Path, table: str) -> None:
    """Put *table* between the markers of *readme*."""
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def machine() -> str:
    """Return the class of the machine."""
    return f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores of {_model()}"


def versions() -> str:
    """Return the versions of what is measured, as far as it is installed."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(found, platform.machine())} ({platform.machine()})"


def _number(row: Row) -> str:
    if row.unit == "":
        return f"{row.value:.0e}"
    digits = 3 if row.unit == "s" else 2
    return f"{row.value:.{digits}f} {row.unit}"


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    limit = f"{row.goal:g} {row.unit}" if row.unit else f"{row.goal:.0e}"
    return f"{'≥' if row.at_least else '≤'} {limit}"
