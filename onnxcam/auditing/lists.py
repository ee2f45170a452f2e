"""Lists of pictures worth a look: wrong reasons, confident errors, outliers, near duplicates. No test judges them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onnxcam.auditing.finding import Listed
from onnxcam.auditing.scan import distances
from onnxcam.auditing.shortcuts import FEWEST
from onnxcam.auditing.table import AuditTable
from onnxcam.auditing.views import coarse, map_points

__all__ = ["BITS", "CONFIDENT", "LONGEST", "lists", "near_duplicates"]

LONGEST = 200
"""Entries of a list."""
CONFIDENT = 0.9
"""Probability of a confident error."""
BITS = 3
"""Bits in which the hashes of near duplicates differ at most."""
_GREY = 10.0  # mean difference of the thumbnails of near duplicates at most
_NEIGHBOUR, _FAR = 5, 2.0  # an outlier's fifth neighbour is so much farther than that of the median row
_BUCKET = 200  # hashes with a common quarter that are compared with each other
_SAMPLE = 2000


def lists(table: AuditTable, seed: int = 0) -> list[Listed]:
    """Return all lists, each the worst first and at most `LONGEST` long."""
    found: list[Listed] = []
    for one in (_wrong_reasons(table), _confident_errors(table), _outliers(table, seed), near_duplicates(table)):
        found += sorted(one, key=lambda listed: -listed.value)[:LONGEST]
    return found


def _wrong_reasons(table: AuditTable) -> Iterator[Listed]:
    """Yield right answers with less of the map on the object than a map without a place would have."""
    shares, areas = table.numbers("map_truth"), table.numbers("truth_area")
    for at, correct in enumerate(table.values("correct")):
        if correct and shares[at] < areas[at]:
            why = f"right, with {shares[at]:.0%} of the map on the object that fills {areas[at]:.0%} of the picture"
            yield Listed("wrong reason", str(table.labels[at]), (table.ids[at],), 1 - shares[at] / areas[at], why)


def _confident_errors(table: AuditTable) -> Iterator[Listed]:
    sure, truth, names = (table.values(key) for key in ("predicted_probability", "truth", "predicted_label"))
    for at, correct in enumerate(table.values("correct")):
        if correct is False and sure[at] is not None and sure[at] >= CONFIDENT:
            true = ", ".join(truth[at] or [])
            why = f"'{names[at] or table.labels[at]}' with {sure[at]:.1%}, and it is '{true}'"
            yield Listed("confident error", str(table.labels[at]), (table.ids[at],), float(sure[at]), why)


def _outliers(table: AuditTable, seed: int) -> Iterator[Listed]:
    """Yield rows whose maps are far from those of their class: by the distance to the fifth neighbour."""
    rng = np.random.default_rng(seed)
    for label in table.classes:
        rows = np.flatnonzero((table.labels == label) & table.heat.any((1, 2)))
        if len(rows) < FEWEST:
            continue
        rows = rows if len(rows) <= _SAMPLE else rng.choice(rows, _SAMPLE, replace=False)
        points = map_points(table.heat[rows])
        far = np.sort(distances(points, points), axis=1)[:, _NEIGHBOUR]
        typical = float(np.median(far))
        for at in np.flatnonzero(far > _FAR * typical) if typical > 0 else ():
            times = float(far[at]) / typical
            why = f"its map is {times:.1f} times as far from its neighbours as is usual in the class"
            yield Listed("outlier", label, (table.ids[rows[at]],), times, why)


def near_duplicates(table: AuditTable) -> Iterator[Listed]:
    """Yield groups of pictures whose hashes differ in at most `BITS` bits, and whose thumbnails are alike."""
    first = {id: at for at, id in reversed(list(enumerate(table.ids)))}
    rows = np.array([at for at in first.values() if table.shown[at]], np.int64)
    hashes = np.array([table.columns["dhash"][int(at)].as_py() or 0 for at in rows], np.uint64)
    parent = list(range(len(rows)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for one, other in _pairs(hashes):
        first_look, second_look = coarse(table.thumbnails[rows[[one, other]]])
        if np.abs(first_look - second_look).mean() <= _GREY:
            parent[root(one)] = root(other)
    groups: dict[int, list[int]] = defaultdict(list)
    for at in range(len(rows)):
        groups[root(at)].append(int(rows[at]))
    for group in groups.values():
        if len(group) > 1:
            labels = sorted({str(table.labels[at]) for at in group})
            across = f", in {len(labels)} classes: {', '.join(labels[:5])}" if len(labels) > 1 else ""
            ids = tuple(table.ids[at] for at in group)
            yield Listed(
                "near duplicates", labels[0], ids, len(group) + 1e6 * (len(labels) > 1), f"{len(ids)} alike{across}"
            )


def _pairs(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Yield pairs within `BITS` bits: they share a quarter of the hash, as three bits spoil at most three quarters."""
    for shift in (0, 16, 32, 48):
        quarter = (hashes >> np.uint64(shift)) & np.uint64(0xFFFF)
        order = np.argsort(quarter, kind="stable")
        starts = np.flatnonzero(np.diff(quarter[order], prepend=quarter[order][:1] + np.uint64(1)))
        for bucket in np.split(order, starts[1:]):
            for at, one in enumerate(bucket[:-1]):
                later = bucket[at + 1 : at + 1 + _BUCKET]
                near = np.bitwise_count(hashes[later] ^ hashes[one]) <= BITS
                yield from ((int(one), int(other)) for other in later[near])
