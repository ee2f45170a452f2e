"""Look up metrics, checks and settings by the ids and groups that a user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from onnxcam.errors import MethodError, MetricError, nearest
from onnxcam.methods import find_method
from onnxcam.methods.settings import read_settings as read_method_settings
from onnxcam.metrics.base import METRICS, Metric, read_settings
from onnxcam.metrics.sanity import CHECKS, Check

__all__ = [
    "DEFAULT",
    "EVERYTHING",
    "GROUPS",
    "Settings",
    "all_metrics",
    "choose",
    "choose_methods",
    "runs_of",
    "sort_settings",
]

Settings: TypeAlias = dict[str, dict[str, Any]]
"""Settings by id of their method, metric or check."""

EVERYTHING = "all"
DEFAULT = ("localisation", "faithfulness", "road", "complexity")
"""Default groups: those that compute each map once."""


GROUPS = ("localisation", "faithfulness", "road", "robustness", "complexity", "sanity")
"""Order of the groups in tables; groups registered by users come last."""


def all_metrics() -> dict[str, Metric | Check]:
    """Return all metrics and checks by id, in the order of their groups."""
    known: dict[str, Metric | Check] = {**METRICS, **CHECKS}
    groups = dict.fromkeys([*GROUPS, *(thing.group for thing in known.values())])
    return {id: thing for group in groups for id, thing in known.items() if thing.group == group}


def choose(words: Sequence[str], has_truth: bool) -> list[Metric | Check]:
    """Return the metrics and checks with the given ids or groups, or ``all``; without *words*, the `DEFAULT` groups.

    Without ground truth, ``all`` and the default omit the metrics that need it.

    Raises:
        MetricError: an id is unknown, or a metric named explicitly needs ground truth.
    """
    known = all_metrics()
    groups = list(dict.fromkeys(thing.group for thing in known.values()))
    chosen: dict[str, Metric | Check] = {}
    for word in words or DEFAULT:
        if word not in known and word not in groups and word != EVERYTHING:
            there = ", ".join([*known, *groups, EVERYTHING])
            raise MetricError(f"no metric is called {word!r}.{nearest(word, [*known, *groups])} There are {there}")
        found = {id: thing for id, thing in known.items() if word in (id, thing.group, EVERYTHING)}
        unmeasurable = [id for id, thing in found.items() if thing.needs_truth and not has_truth]
        if unmeasurable and words and word != EVERYTHING:
            raise MetricError(f"{unmeasurable[0]} needs ground truth; give --truth, masks or boxes")
        chosen |= {id: thing for id, thing in found.items() if id not in unmeasurable}
    return [thing for id, thing in known.items() if id in chosen]


def sort_settings(given: Mapping[str, Any], methods: Sequence[str], metrics: Sequence[Metric | Check]) -> Settings:
    """Return the settings *given* as ``{"ID.name": value}``, checked and grouped by id; the others have defaults."""
    own = {thing.id: thing for thing in metrics}
    sorted_: Settings = {id: {} for id in (*methods, *own)}
    for key, value in given.items():
        id, dot, name = key.partition(".")
        if not dot or not name:
            raise MetricError(f"a setting is ID.name=value, such as rise.samples=500 or deletion.steps=50, not {key!r}")
        if id not in sorted_:
            used = ", ".join(sorted_)
            raise MetricError(f"{key!r} is a setting of {id!r}, which is not evaluated here; there are {used}")
        sorted_[id][name] = value
    for id in methods:
        sorted_[id] = read_method_settings(find_method(id), sorted_[id])
    for id, thing in own.items():
        sorted_[id] = read_settings(id, thing.function, sorted_[id])
    return sorted_


def runs_of(metrics: Sequence[Metric | Check], settings: Settings) -> int:
    """Return about how many runs of the network the *metrics* of one map need: their steps and samples."""
    known = [settings[one.id] for one in metrics if isinstance(one, Metric)]
    return sum(int(own.get(name, 0)) for own in known for name in ("steps", "samples"))


def choose_methods(ids: Sequence[str]) -> list[str]:
    """Return *ids* without duplicates; raise MethodError if one is unknown."""
    if not ids:
        raise MethodError("no method to evaluate; `onnxcam inspect MODEL` lists those that apply")
    for id in ids:
        find_method(id)
    return list(dict.fromkeys(ids))
