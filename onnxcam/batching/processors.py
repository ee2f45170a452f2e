"""The processors that this process may use: those of its container and its job, not those of the machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["processors"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_OLD = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def processors() -> int:
    """Return how many processors this process may use, at least 1.

    It is the smallest of its affinity, the quota of its control group, and ``SLURM_CPUS_PER_TASK``.
    """
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    with suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text(encoding="utf-8").split()
        counts.append(_whole(quota, period))
    with suppress(OSError, ValueError):
        quota, period = (file.read_text() for file in _OLD)
        counts += [_whole(quota, period)] if int(quota) > 0 else []
    with suppress(KeyError, ValueError):
        counts.append(int(os.environ["SLURM_CPUS_PER_TASK"]))
    return max(1, min(counts))


def _whole(quota: str, period: str) -> int:
    """Return a quota in whole processors; ValueError for ``max``, which is none."""
    return -(-int(quota) // int(period))
