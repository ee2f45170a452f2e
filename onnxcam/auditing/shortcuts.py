"""Shortcuts: a part of a class has one place or look that other classes lack, and the network looks there.

Half of the rows propose up to `PROPOSALS` balls a class (`onnxcam.auditing.scan`), the other half tests them, and the
other way round. This is done with several random halves, since one may leave most of a small part on one side: a part's
p-value is twice the median of those of all splits (Meinshausen, Meier and Bühlmann 2009), each multiplied by the number
of tests. So the chance that an audit names anything where classes differ in no place and look is at most `ALPHA`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from onnxcam.auditing.finding import Finding
from onnxcam.auditing.scan import AS_GOOD, Ball, excess, held_out_p, recentred, search
from onnxcam.auditing.table import AuditTable
from onnxcam.auditing.views import CLEARLY, PLACES, WHOLE, View, shared_look, shares, views

__all__ = ["ALPHA", "FEWEST", "PROPOSALS", "SAMPLE", "SPLITS", "searched", "shortcuts"]

ALPHA = 0.01
"""Chance of any false finding of a kind."""
SPLITS = 3
"""Random halves of the rows."""
PROPOSALS = 3
"""Balls of a class that half of the rows propose."""
FEWEST = 20
"""Rows of a class from which on its parts are looked for."""
SAMPLE = 2000
"""Rows of a class, and four times as many of all others, that are searched; all are assigned."""
_MOSTLY = 0.8  # overlap from which on a ball in another view is of the same part
_SAME = 0.5  # overlap, relative to the smaller part, from which on two parts are one

_RowMask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _TestedBall:
    label: str
    view: View
    ball: Ball
    p: float
    split: int


@dataclass(frozen=True, eq=False)
class _ClassPart:
    label: str
    view: View
    members: _RowMask
    ball: Ball
    p: float  # corrected for all tests
    split: int


def shortcuts(table: AuditTable, seed: int = 0) -> list[Finding]:
    """Return the shortcuts and artefacts in *table*, the strongest first."""
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(len(table)) % 2 == 0 for _ in range(SPLITS)]
    all_views = views(table.heat, table.thumbnails, table.shown)
    found: list[_TestedBall] = []
    for label in searched(table):
        own = _sample(table.labels == label, SAMPLE, rng)
        others = _sample(table.labels != label, 4 * SAMPLE, rng)
        for split, half in enumerate(halves):
            for first in (half, ~half):
                for view, ball in _proposals(table, all_views, own & first, others & first):
                    known = view.known & ~first
                    p = held_out_p(ball, view.at(own & known), view.at(others & known))
                    found.append(_TestedBall(label, view, ball, p, split))
    tests = 2 * max(Counter(one.split for one in found).values(), default=1)
    parts = [_whole(table, replace(one, p=one.p * tests), all_views) for one in found if one.p * tests <= ALPHA]
    joined = [one for one in _joined(parts) if one[1] <= ALPHA]
    return [_finding(table, number, *one) for number, one in enumerate(joined, 1)]


def searched(table: AuditTable) -> list[str]:
    """Return the classes in which shortcuts are looked for."""
    if len(table.classes) < 2:
        return []
    return [label for label in table.classes if (table.labels == label).sum() >= FEWEST]


def _sample(rows: _RowMask, count: int, rng: np.random.Generator) -> _RowMask:
    at = np.flatnonzero(rows)
    chosen = np.zeros(len(rows), bool)
    chosen[at if len(at) <= count else rng.choice(at, count, replace=False)] = True
    return chosen


def _proposals(
    table: AuditTable, all_views: Sequence[View], own: _RowMask, others: _RowMask
) -> list[tuple[View, Ball]]:
    """Return the balls of the most evidence, one a view."""
    found = _candidates(table, all_views, own, others)
    return sorted(found, key=lambda one: -one[1].evidence)[:PROPOSALS]


def _candidates(
    table: AuditTable, all_views: Sequence[View], own: _RowMask, others: _RowMask
) -> Iterator[tuple[View, Ball]]:
    """Yield the best ball of each view, and that of the look that the rows share whose maps lie at a place."""
    for view in all_views:
        ball = _best(view, own, others)
        if ball is None:
            continue
        yield view, ball
        members = _inside(view, ball, own)
        shared = _shared_look(table, view, members, (own | others) & ~members) if view.of == "map" else None
        alike = None if shared is None else _best(shared, own, others)
        if shared is not None and alike is not None:
            yield shared, alike


def _shared_look(table: AuditTable, view: View, members: _RowMask, rest: _RowMask) -> View | None:
    return None if view.place == WHOLE else shared_look(view.place, table.thumbnails, table.shown, members, rest)


def _best(view: View, own: _RowMask, others: _RowMask, around: _RowMask | None = None) -> Ball | None:
    """Return the best ball of a view: of looks, one around a mean. *around*: the rows where balls may be centred."""
    mine, strange = own & view.known, others & view.known
    largest = view.largest(mine) if around is None else view.largest(mine, CLEARLY / 3)
    points, other = view.at(mine), view.at(strange)
    ball = search(points, other, view.centres(mine if around is None else around), largest)
    if ball is None or view.of == "map":
        return ball
    return recentred(ball, points, other, largest)


def _inside(view: View, ball: Ball, rows: _RowMask) -> _RowMask:
    """Return which of *rows* lie in *ball*."""
    found = rows & view.known
    found[found] = ball.holds(view.at(found))
    return found


def _whole(table: AuditTable, found: _TestedBall, all_views: Sequence[View]) -> _ClassPart:
    """Return the part that a ball is of: searched again in all rows and views, of the balls that overlap with it.

    Where the part shares a look that is as good, its members are those that have the look.
    """
    members = _inside(found.view, found.ball, table.labels == found.label)
    first = _ClassPart(found.label, found.view, members, found.ball, found.p, found.split)
    again = [one for each in all_views if (one := _again(table, first, each)) and _overlap(one, first) >= _MOSTLY]
    best = max(again, key=lambda one: one.ball.score, default=first)
    shared = _shared_look(table, best.view, best.members, ~best.members)
    alike = None if shared is None else _again(table, best, shared)
    if alike is None or _overlap(alike, best) < _MOSTLY or alike.ball.score < AS_GOOD * best.ball.score:
        return best
    return alike


def _again(table: AuditTable, part: _ClassPart, view: View) -> _ClassPart | None:
    """Return the part that the best ball around the members of *part* holds in another view, or in its own."""
    own, others = view.known & (table.labels == part.label), view.known & (table.labels != part.label)
    members = own & part.members
    rng = np.random.default_rng(0)
    around = _sample(members, 200, rng)
    mine, strange = _sample(own, 2 * SAMPLE, rng) | members, _sample(others, 4 * SAMPLE, rng)
    again = _best(view, mine, strange, around)
    return None if again is None else replace(part, view=view, members=_inside(view, again, own), ball=again)


def _joined(parts: Sequence[_ClassPart]) -> Iterator[tuple[_ClassPart, float]]:
    """Yield the best part of each group of overlapping ones, and the median over all splits of its p-value there."""
    left = sorted(parts, key=lambda one: -one.ball.score)
    while left:
        best = left[0]
        same = [one for one in left if one.label == best.label and _overlap(one, best) >= _SAME]
        left = [one for one in left if one not in same]
        own = [min((one.p for one in same if one.split == split), default=1.0) for split in range(SPLITS)]
        yield best, float(np.median(own))


def _overlap(one: _ClassPart, other: _ClassPart) -> float:
    return float((one.members & other.members).sum() / max(1, min(one.members.sum(), other.members.sum())))


def _finding(table: AuditTable, number: int, part: _ClassPart, p: float) -> Finding:
    own = table.labels == part.label
    strange = _inside(part.view, part.ball, ~own)
    total, others = int(own.sum()), int((~own).sum())
    place, (members, inside, outside) = part.view.place, _looking(table, part, own)
    count = int(members.sum())
    strength = excess(np.array([count]), np.array([int(strange.sum())]), total, others)[0]
    kind = "shortcut" if members is not part.members else "artefact"
    share, elsewhere = count / total, int(strange.sum()) / others
    seen = "have most of their map at" if part.view.of == "map" else "look alike at"
    why = (
        f"{count} of {total} pictures of '{part.label}' {seen} the {place}, {elsewhere:.1%} of other classes do; "
        f"the {'border' if place == WHOLE else place} holds {inside:.0%} of their maps, {outside:.0%} of those of the "
        "rest of the class"
    )
    check = {
        "shortcut": f"Look for a mark, caption, frame or colour at the {place} of these pictures. Cover it, or remove "
        "it, and see whether the answer stays; collect pictures of the class without it.",
        "artefact": f"The pictures share what the {place} shows; the maps are those of the rest of the class. Check "
        "where they come from before the next training.",
    }[kind]
    ids = tuple(dict.fromkeys(table.ids[at] for at in np.flatnonzero(members)))
    return Finding(
        kind, part.label, f"{part.label}/{number}", ids, place, float(strength), p, share, elsewhere, why, check
    )


def _looking(table: AuditTable, part: _ClassPart, own: _RowMask) -> tuple[_RowMask, float, float]:
    """Return the members of *part* whose maps lie at its place, and the mean shares there of these and of the rest.

    They are those whose share is nearer to the median of the part than to that of the rest of the class; all members,
    where the part has no larger shares than the rest.
    """
    share = shares(table.heat, PLACES["border" if part.view.place == WHOLE else part.view.place])
    mapped = table.heat.any((1, 2))
    inside, outside = share[part.members & mapped], share[own & ~part.members & mapped]
    if not len(inside) or not len(outside):
        return part.members, 0.0, 0.0
    if mannwhitneyu(inside, outside, alternative="greater").pvalue > ALPHA:
        return part.members, float(inside.mean()), float(outside.mean())
    members = part.members & (share >= (np.median(inside) + np.median(outside)) / 2)
    return members, float(share[members].mean()), float(share[own & ~members & mapped].mean())
