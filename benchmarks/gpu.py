"""All that needs a GPU, in ten minutes: the tests marked ``gpu``, then explanations against plain inference.

``python benchmarks/gpu.py [MODEL]`` prints a table and writes it to ``gpu.md`` after each row. MODEL is a classifier
with an open batch and one input of images; without it ResNet-50, made with PyTorch (its CPU build does). Inputs and
outputs stay on the device; rows called `attribute` begin and end with arrays of the host. What there is no time for is
listed. ``--provider cpu`` tries the script on a machine without a GPU; its ratios mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import environment
import numpy as np
import onnx
import onnxruntime
import table
from built import explanation_graph
from on_device import BoundSession, agreement, host_copies
from table import Row

from onnxcam import Explainer
from onnxcam.engine import SHORT
from onnxcam.graph.io import to_bytes

ROOT = environment.HERE.parent
GOALS = {"gradcam": 1.05, "gradient": 2.2}
BATCHES = (1, 64)
TYPES = ("float32", "float16")
TURNS = 15


@dataclass
class Report:
    """The rows so far and the names of the measurements that are left; `write` keeps both in *path*."""

    path: Path
    left: list[str]
    head: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Add and print a row."""
        self.rows.append(row)
        print(table.line(row), flush=True)
        self.write()

    def note(self, text: str) -> None:
        """Add and print a line that is no row."""
        self.notes.append(text)
        print(text, flush=True)
        self.write()

    def write(self) -> None:
        """Write the table, the notes and what is left."""
        left = [f"Left out, the time was over: {', '.join(self.left)}."] if self.left else []
        text = "\n\n".join([self.head, "\n".join([*table.HEAD, *map(table.line, self.rows)]), *self.notes, *left])
        self.path.write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Setting:
    """The model in one type of floats, the size of a batch, the provider, and the seconds that a row may take."""

    model: onnx.ModelProto
    dtype: str
    batch: int
    provider: str
    seconds: float

    @property
    def name(self) -> str:
        """Return the name of the setting in the table."""
        return f"{self.dtype}, batch {self.batch}"

    def picture(self) -> dict[str, np.ndarray]:
        """Return a batch of noise, by the name of the model's input; open lengths of space are 224."""
        (value,) = self.model.graph.input
        lengths = [dim.dim_value or 224 for dim in value.type.tensor_type.shape.dim][1:]
        noise = np.random.default_rng(0).standard_normal((self.batch, *lengths))
        return {value.name: noise.astype(self.dtype)}


def compared(setting: Setting) -> Iterator[Row]:
    """Yield the rows of one setting: each method's graph, and `attribute`, over plain inference; copies; agreement."""
    (name,), picture = setting.picture(), setting.picture()
    explainers = {
        method: Explainer(setting.model, method=method, provider=setting.provider, spin=False) for method in GOALS
    }
    graphs = {method: explanation_graph(setting.model, method) for method in GOALS}
    plain = BoundSession(setting.model.SerializeToString(), picture, setting.provider)
    bound = {method: BoundSession(to_bytes(graph), picture, setting.provider) for method, graph in graphs.items()}
    runs: dict[str, Callable[[], Any]] = {"plain": plain.run, "plain, host": plain.run_from_host}
    for method in GOALS:
        runs[method] = bound[method].run
        runs[f"{method} attribute"] = _attribute(explainers[method], picture[name])
    seconds = turns(runs, setting.seconds)
    for method, goal in GOALS.items():
        for run, limit, held in ((method, "plain", goal), (f"{method} attribute", "plain, host", None)):
            detail = f"{seconds[run] * 1e3:.2f} / {seconds[limit] * 1e3:.2f} ms"
            what = f"{run} / plain inference{', from and to the host' if held is None else ''}"
            yield Row(what, setting.name, seconds[run] / seconds[limit], "×", detail, held)
        copies = host_copies(to_bytes(graphs[method]), picture, setting.provider)
        of_plain = host_copies(setting.model.SerializeToString(), picture, setting.provider)
        yield Row(f"{method}: copies inside a run", setting.name, copies - of_plain, "more", f"plain: {of_plain}", 0)
        if setting.batch == 1:  # large batches take minutes on the CPU
            distance = agreement(to_bytes(graphs[method]), picture, setting.provider)
            yield Row(f"{method}: distance from the CPU's map", setting.name, distance, "", "of the same file")


def _attribute(explainer: Explainer, x: np.ndarray) -> Callable[[], Any]:
    return lambda: explainer.attribute(x, target=0)


def turns(runs: dict[str, Callable[[], Any]], budget: float) -> dict[str, float]:
    """Return the median seconds of each run; they take `TURNS` turns, or fewer if *budget* seconds are over."""
    end = time.monotonic() + budget
    for run in runs.values():
        run()  # allocates and chooses algorithms
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in itertools.takewhile(lambda turn: turn == 0 or time.monotonic() < end, range(TURNS)):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            found[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in found.items()}


def tests(provider: str, seconds: float) -> str:
    """Run the tests marked ``gpu``; return pytest's last line, and what is wrong where one was skipped on a GPU."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    files = [str(path) for path in paths if "mark.gpu\n" in path.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"Tests marked gpu: not done after {seconds:.0f} s."
    last = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]
    bad = done.returncode != 0 or (provider != "cpu" and "skipped" in last)
    return f"Tests marked gpu: {last}{' (run them by themselves: pytest -m gpu)' if bad else ''}"


def settings(path: Path, provider: str, batches: Sequence[int], seconds: float) -> Iterator[Setting]:
    """Yield the settings of the model at *path*: each type of floats, with each size of a batch that it takes."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    for dtype, batch in itertools.product(TYPES, batches):
        model = onnx.load(path)
        fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
        if fixed in (0, batch):
            half = convert_float_to_float16(model) if dtype == "float16" else model
            yield Setting(half, dtype, batch, provider, seconds)


def measure(options: argparse.Namespace, model: Path) -> Report:
    """Run the tests and all settings until the time is over; return the report."""
    end = time.monotonic() + options.minutes * 60
    todo = list(settings(model, options.provider, options.batch, options.minutes * 60 / 12))
    head = f"{_device()}, {table.machine()}, {table.versions()}; `{options.provider}`, {model.name}."
    report = Report(options.output, ["tests", *(one.name for one in todo)], head)
    print(head, flush=True)
    watchdog = threading.Timer(options.minutes * 60, _stop, [report])
    watchdog.daemon = True
    watchdog.start()
    report.note(tests(options.provider, max(1.0, (end - time.monotonic()) / 3)))
    report.left.pop(0)
    for setting in todo:
        for row in compared(setting):
            report.add(row)
        report.left.remove(setting.name)
    watchdog.cancel()
    report.write()
    return report


def _stop(report: Report) -> None:
    """End the process at the time limit, also within a run that hangs: all that was measured is in the file."""
    report.write()
    print(f"the time is over; left out: {', '.join(report.left)}; the rest is in {report.path}", flush=True)
    os._exit(1)


def _device() -> str:
    """Return the GPU and its driver."""
    if shutil.which("nvidia-smi") is None:
        return "no GPU"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or "no GPU"


def _resnet() -> Path:
    """Return ResNet-50 with an open batch, exported once."""
    import networks

    return networks.exported(networks.OPEN, networks.make(networks.OPEN), environment.CACHE / "models")


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code: 1 where a goal was missed or time was short, 2 for bad usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--provider", default="cuda", choices=sorted(SHORT))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--batch", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--output", "-o", type=Path, default=Path("gpu.md"))
    options = parser.parse_args(arguments)
    if SHORT[options.provider] not in onnxruntime.get_available_providers():
        lacks = f"error: this onnxruntime has no {SHORT[options.provider]}"
        advice = "install onnxruntime-gpu in its place (docs/providers.md), or give --provider cpu"
        print(f"{lacks}; {advice}", file=sys.stderr)
        return 2
    report = measure(options, options.model or _resnet())
    return int(any(row.passes is False for row in report.rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
