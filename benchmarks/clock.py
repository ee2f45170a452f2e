"""Seconds and bytes: interleaved runs in this process, CPU seconds and peak memory of child processes."""

from __future__ import annotations

import gc
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

Contenders = Mapping[str, Callable[[], Any]]

PAUSE = 0.05  # seconds before a turn: the threads of the contender before stop spinning
PATIENCE = 2.0  # seconds to wait for other processes to fall quiet
AGAIN = 3  # timed runs a turn, after one that is not


def interleaved(contenders: Contenders, rounds: int, again: int = AGAIN) -> dict[str, float]:
    """Return the median seconds of each contender. They take turns, so that all meet the same disturbances.

    What is alive before is frozen: the garbage collector need not look through PyTorch again and again.
    """
    return {name: wall for name, (wall, _) in interleaved_both(contenders, rounds, again).items()}


def interleaved_both(contenders: Contenders, rounds: int, again: int = AGAIN) -> dict[str, tuple[float, float]]:
    """Return the median seconds, and the median CPU seconds of this process, of each contender; see `interleaved`."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, run in contenders.items():
            _wait_for_quiet()
            if again > 1:
                run()
            seconds[name] += [_timed(run) for _ in range(again)]
    gc.unfreeze()
    return {
        name: (median(wall for wall, _ in values), median(cpu for _, cpu in values)) for name, values in seconds.items()
    }


def processor(contenders: Contenders, rounds: int, again: int = AGAIN) -> dict[str, float]:
    """Return the median CPU seconds of each contender in this process. Other programs change them little."""
    return {name: cpu for name, (_, cpu) in interleaved_both(contenders, rounds, again).items()}


def _wait_for_quiet() -> None:
    """Sleep until nothing else uses more than a tenth of a core, or patience ends; where /proc is, else only pause."""
    end = time.monotonic() + PATIENCE
    while True:
        before = _busy()
        time.sleep(PAUSE)
        if _busy() - before <= PAUSE / 10 or time.monotonic() > end:
            return


def _busy() -> float:
    """Return the CPU seconds that the machine has spent so far on anything but waiting."""
    try:
        with open("/proc/stat", encoding="utf-8") as file:
            user, nice, system = map(int, file.readline().split()[1:4])
    except OSError:
        return 0.0
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _timed(run: Callable[[], Any]) -> tuple[float, float]:
    start, busy = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - busy


def cpu_seconds(command: Sequence[str], times: int) -> float:
    """Return the median CPU seconds, user and system, of *command*."""
    return median(_cpu_seconds(command) for _ in range(times))


def _cpu_seconds(command: Sequence[str]) -> float:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command} failed with exit code {child.returncode}")
    return usage.ru_utime + usage.ru_stime


PEAK = """
import resource, sys
try:
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak)
"""
"""On Linux VmHWM rather than ru_maxrss, which a child inherits from the process that started it."""


def peak_bytes(python: str, code: str, arguments: Sequence[str], times: int) -> float:
    """Return the median peak of resident memory of a fresh *python* that runs *code*."""
    command = [python, "-c", code + PEAK, *arguments]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(times)]
    return median(int(run.stdout.splitlines()[-1]) for run in runs)
