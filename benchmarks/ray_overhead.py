"""What Ray costs a picture: the same small pictures through the local engine and through one actor.

``python benchmarks/ray_overhead.py`` prints, for each engine, the seconds and the processor seconds of all its
processes: of a picture, from runs of two lengths, and of a run without any. The cluster is started before. Runs
alternate; medians are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from contextlib import suppress
from importlib import resources
from pathlib import Path

import numpy as np
import ray

from onnxcam.batching.batch import batch
from onnxcam.media import image

ASSETS = Path(str(resources.files("onnxcam") / "assets"))


class Busy:
    """Adds up the processor time of this process and all its descendants, also of those that end."""

    def __init__(self) -> None:
        self._ticks: dict[int, int] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def seconds(self) -> float:
        """Return the processor seconds so far."""
        with self._lock:
            self._look()
            return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")

    def _watch(self) -> None:
        while True:
            self.seconds()
            time.sleep(0.2)

    def _look(self) -> None:
        parents, ticks = {}, {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                parents[int(entry)], ticks[int(entry)] = int(fields[1]), int(fields[11]) + int(fields[12])

        def ours(process: int) -> bool:
            return process == os.getpid() or (process in parents and ours(parents[process]))

        self._ticks.update({one: ticks[one] for one in ticks if ours(one)})


def photos(folder: Path, count: int) -> None:
    """Write *count* pictures of 96 × 96."""
    folder.mkdir(exist_ok=True)
    whole = image.read(ASSETS / "shapes_1.png")
    small = np.ascontiguousarray(whole[::3, ::3])
    for number in range(count):
        image.write(folder / f"{number:05}.png", np.roll(small, (number % 96, number // 96), axis=(0, 1)))


def main() -> None:
    """Print one line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    few = given.pictures // 10
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    busy = Busy()
    found: dict[tuple[str, int], list[tuple[float, float]]] = {
        (engine, count): [] for count in (few, few + given.pictures) for engine in ("local", "ray")
    }
    with tempfile.TemporaryDirectory() as folder:
        for _, count in found:
            photos(Path(folder) / str(count), count)
        for number in range(given.rounds):
            for (engine, count), times in found.items():
                start, before = time.perf_counter(), busy.seconds()
                dest = f"{folder}/{engine}-{count}-{number}"
                batch(str(ASSETS / "shapes.onnx"), f"{folder}/{count}", dest, engine=engine, cpus=1)  # type: ignore[arg-type]
                times.append((time.perf_counter() - start, busy.seconds() - before))
    for engine in ("local", "ray"):
        small, large = (
            [statistics.median(one) for one in zip(*found[engine, count], strict=True)]
            for count in (few, few + given.pictures)
        )
        each = [(more - less) / given.pictures for more, less in zip(large, small, strict=True)]
        start = [less - few * one for less, one in zip(small, each, strict=True)]
        print(
            f"{engine:6} a picture: {1000 * each[0]:.2f} ms, {1000 * each[1]:.2f} processor ms; "
            f"a run: {start[0]:.1f} s, {start[1]:.1f} processor s"
        )


if __name__ == "__main__":
    main()
