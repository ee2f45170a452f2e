"""Probing: find the grid of a tensor by running the network on changed images.

Stripes of the image are replaced by noise, one after the other. The position of a tensor that answers most to a
stripe lies behind it. So the answers give each position a row and a column of the image, and a layout fits if the
rows and columns that it states agree with them. A second probe, noise in the four quarters of the image, must agree
too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.structure.layout import GridLayout, Layout, TokenLayout

__all__ = ["PictureProbe", "ProbeAnswers", "ProbeRun"]

_Array: TypeAlias = NDArray[Any]

ProbeRun = Callable[[_Array, Sequence[str]], Mapping[str, _Array]]
"""Returns the tensors of these names for a tensor of the image input."""

_STRIPES = 8
"""Stripes of the first probe along each axis."""

_EXACT = 32
"""The order of tokens is found in grids of up to this length."""

_AGREES = 0.75
"""The least correlation of the stated and the found places."""

_CLOSE = 0.05
"""Of layouts that agree about equally, the one with the most cells is right: the grid without its last row fits too."""

_SPREAD = 0.12
"""The least standard deviation of the places of tokens whose order is looked for; 0.29 is an even spread."""

_UNEVEN = 1.4
"""How much the standard deviation of places along an axis of one cell lowers the agreement."""

_OTHER_TOKENS = 128
"""The most tokens that are no cells of the grid, such as class tokens."""

_THIN = 32
"""Positions along each axis of a grid that are compared."""

_LARGE = 1 << 26
"""Tensors with more elements are not probed."""


@dataclass(frozen=True)
class ProbeAnswers:
    """For each cell of a tensor, the position of the changes that it answers to, along one axis of the image.

    Attributes:
        centres: The mean place for each cell, 0 to 1. Of a grid with many cells some are left out, evenly.
        width: The median standard deviation of the places of one cell.
    """

    centres: _Array
    width: float

    @classmethod
    def of(cls, change: _Array) -> ProbeAnswers:
        """Return the answers for the *change* of each cell by stripes of equal width, [stripes, *grid]."""
        count = len(change)
        centres = (_centres(change) * (count - 1) + 0.5) / count
        sharp = _sharpened(change) ** 2
        off = (np.arange(count) + 0.5)[:, None] / count - centres.reshape(-1)
        spread = np.sqrt((sharp * off**2).sum(axis=0) / np.maximum(sharp.sum(axis=0), 1e-30))
        return cls(centres, float(np.median(spread)))


@dataclass
class PictureProbe:
    """Changes parts of one image and compares tensors of the network before and after.

    Attributes:
        run: Runs the network.
        picture: The tensor of the image input, [N, …] in floating point or integers.
        layout: Its layout.
    """

    run: ProbeRun
    picture: _Array
    layout: GridLayout
    _base: dict[str, _Array] = field(default_factory=dict, init=False)
    _answers: dict[tuple[int, int], dict[str, list[dict[_Axes, _Array]]]] = field(default_factory=dict, init=False)

    def layouts(self, names: Sequence[str]) -> dict[str, Layout | None]:
        """Return the layout of each of the tensors *names* that has spatial extent; None where none fits."""
        self._base = {name: _thinned(x) for name, x in self.run(self.picture, names).items() if self._has_extent(x)}
        names = list(self._base)
        self._answers.clear()
        if not names:
            return {}
        axes = range(len(self.layout.space))
        answers = [self._stripes(names, axis, _STRIPES) for axis in axes]
        found = {name: self._fit(name, [answer[name] for answer in answers]) for name in names}
        fitting = {name: layout for name, layout in found.items() if layout is not None}
        return dict.fromkeys(names) | self._confirmed(fitting)

    def answers(self, name: str, layout: Layout) -> list[ProbeAnswers]:
        """Return, for each axis of the image, the positions of the changes that the cells of *name* answer to."""
        self._base = {name: _thinned(self.run(self.picture, [name])[name])}
        areas = [self._areas(axis, _STRIPES) for axis in range(len(self.lengths))]
        answers = (
            [layout.view(self._changes([name], area, seed)[name])[0].sum(axis=0) for seed, area in enumerate(along)]
            for along in areas
        )
        return [ProbeAnswers.of(np.stack(along)) for along in answers]

    @property
    def lengths(self) -> list[int]:
        """The height and width of the image, and the depth of a volume."""
        return [self.picture.shape[axis] for axis in self.layout.space]

    def _has_extent(self, x: _Array) -> bool:
        pictures = len(self.picture) if x.ndim > 1 else 0
        long = [length for axis, length in enumerate(x.shape) if length > 1 and (axis or length != pictures)]
        return x.dtype.kind in "iuf" and x.size <= _LARGE and len(long) > 1

    def _stripes(self, names: Sequence[str], axis: int, count: int) -> dict[str, list[dict[_Axes, _Array]]]:
        """Return the answers of each tensor to *count* stripes along *axis*, for each choice of axes."""
        changes = [self._changes(names, area, stripe) for stripe, area in enumerate(self._areas(axis, count))]
        return {name: [_summed(change[name], self._choices(change[name])) for change in changes] for name in names}

    def _areas(self, axis: int, count: int) -> list[list[slice]]:
        """Return *count* stripes of equal width along *axis*."""
        edges = [self.lengths[axis] * stripe // count for stripe in range(count + 1)]
        return [[slice(None)] * axis + [slice(*edges[stripe : stripe + 2])] for stripe in range(count)]

    def _changes(self, names: Sequence[str], area: Sequence[slice], seed: int) -> dict[str, _Array]:
        """Return how much each element of the tensors changes if *area*, a slice for each spatial axis, is noise."""
        rng = np.random.default_rng(seed)
        x = self.picture.copy()
        where = [slice(None)] * x.ndim
        for axis, part in zip(self.layout.space, area, strict=False):
            where[axis] = part
        low, high = float(x.min()), float(x.max())
        if low == high:
            low, high = (0, 127) if x.dtype.kind in "iu" else (low - 1, high + 1)
        x[tuple(where)] = rng.uniform(low, high, x[tuple(where)].shape).astype(x.dtype)
        after = self.run(x, names)
        return {
            name: np.nan_to_num(np.abs(_thinned(after[name]).astype(np.float32) - self._base[name])) for name in names
        }

    def _choices(self, x: _Array) -> list[_Axes]:
        return list(_choices(x.shape, len(self.picture), len(self.layout.space)))

    def _fit(self, name: str, answers: Sequence[Sequence[Mapping[_Axes, _Array]]]) -> Layout | None:
        """Return the layout that agrees best with the *answers* to the stripes along each axis."""
        found: list[tuple[float, Layout]] = []
        spread: list[_Axes] = []
        for axes in self._choices(self._base[name]):
            places = [_centres(np.stack([stripe[axes] for stripe in along])) for along in answers]
            if len(axes.space) > 1:
                stated = np.indices(places[0].shape).reshape(len(places), -1)
                found.append((float(_agreement([place.reshape(1, -1) for place in places], stated)[0]), axes.grid))
            else:
                found += self._tokens(places, axes)
                spread += [axes] if min(place.std() for place in places) > _SPREAD else []
        best = max((agreement for agreement, _ in found), default=0)
        if best < _AGREES:
            ordered = (self._ordered(name, axes) for axes in spread)
            return next((layout for layout in ordered if layout is not None), None)
        close = [(_cells(layout), agreement, layout) for agreement, layout in found if agreement >= best - _CLOSE]
        return max(close, key=lambda one: one[:2])[2]

    def _tokens(self, places: Sequence[_Array], axes: _Axes) -> Iterator[tuple[float, Layout]]:
        """Yield the agreement of each grid, at the offset where it is best."""
        count = len(places[0])
        for grid in _grids(count, self.lengths):
            stated = np.indices(grid).reshape(len(grid), -1)
            windows = [np.lib.stride_tricks.sliding_window_view(place, stated.shape[1]) for place in places]
            agreement = _agreement(windows, stated)
            offset = int(agreement.argmax())
            yield float(agreement[offset]), axes.tokens(grid, offset)

    def _ordered(self, name: str, axes: _Axes) -> Layout | None:
        """Return the layout of tokens in another than row-major order; None where there is none."""
        count = self._base[name].shape[axes.space[0]]
        for grid in _grids(count, self.lengths):
            if int(np.prod(grid)) != count or max(grid) > _EXACT or min(grid) < 2:
                continue
            cells = [_sharpened(self._exact(name, axes, along, n)).argmax(axis=0) for along, n in enumerate(grid)]
            order = np.full(count, -1)
            order[np.ravel_multi_index(cells, grid)] = np.arange(count)
            if (order >= 0).all():
                return replace(axes.tokens(grid, 0), order=tuple(map(int, order)))
        return None

    def _exact(self, name: str, axes: _Axes, along: int, count: int) -> _Array:
        """Return the answers of *name* to *count* stripes; one run serves all tensors."""
        if (along, count) not in self._answers:
            self._answers[along, count] = self._stripes(list(self._base), along, count)
        return np.stack([stripe[axes] for stripe in self._answers[along, count][name]])

    def _confirmed(self, layouts: Mapping[str, Layout]) -> dict[str, Layout]:
        """Return those of *layouts* in which noise in each quarter of the image changes the cells of that quarter."""
        names = list(layouts)
        if not names:
            return {}
        corners = list(product((0, 1), repeat=len(self.lengths)))
        centres: dict[str, list[_Array]] = {name: [] for name in names}
        for seed, corner in enumerate(corners, start=100):
            pairs = zip(self.lengths, corner, strict=True)
            area = [slice(length // 2 * side, length if side else length // 2) for length, side in pairs]
            for name, change in self._changes(names, area, seed).items():
                centres[name].append(layouts[name].view(change)[0].sum(axis=0))
        return {name: layouts[name] for name in names if _in_quarters(np.stack(centres[name]), corners)}


def _thinned(x: _Array) -> _Array:
    """Return a grid with at most `_THIN` of the positions along each axis; a tensor of tokens as it is."""
    return x if x.ndim < 4 else x[tuple(slice(None, None, -(-length // _THIN)) for length in x.shape)]


@dataclass(frozen=True)
class _Axes:
    """One reading of a tensor's axes: two or more of *space*, or one of tokens."""

    batch: int | None
    channel: int
    space: tuple[int, ...]

    @property
    def grid(self) -> GridLayout:
        return GridLayout(self.channel, self.space, self.batch)

    def tokens(self, grid: tuple[int, ...], offset: int) -> TokenLayout:
        return TokenLayout(self.channel, self.space[0], grid, offset, self.batch)


def _choices(shape: Sequence[int], pictures: int, dims: int) -> Iterator[_Axes]:
    """Yield the readings of the axes of a tensor of *shape* for so many *pictures*."""
    for wanted in {dims, 1}:
        if len(shape) == wanted + 1 and pictures == 1:
            yield from _readings(None, range(len(shape)), wanted)
        if len(shape) == wanted + 2:
            for batch in [axis for axis, length in enumerate(shape) if length == pictures][:2]:
                yield from _readings(batch, [axis for axis in range(len(shape)) if axis != batch], wanted)


def _readings(batch: int | None, axes: Sequence[int], wanted: int) -> Iterator[_Axes]:
    for channel in axes:
        for space in permutations([axis for axis in axes if axis != channel], wanted):
            yield _Axes(batch, channel, space)


def _cells(layout: Layout) -> int:
    return layout.cells if isinstance(layout, TokenLayout) else 0


def _summed(change: _Array, choices: Sequence[_Axes]) -> dict[_Axes, _Array]:
    """Return the *change* of each position for each reading: summed over channels, for one image."""
    found = {}
    for axes in choices:
        first = change if axes.batch is None else np.take(change, [0], axes.batch)
        order = [axis for axis in range(change.ndim) if axis not in axes.space]
        found[axes] = first.transpose(*axes.space, *order).reshape(*(change.shape[a] for a in axes.space), -1).sum(-1)
    return found


def _sharpened(answers: _Array) -> _Array:
    """Return *answers* [stripes, positions] without what all positions have in common.

    Attention spreads each change over all tokens; a quarter of the positions is taken to answer for that reason only.
    """
    flat = answers.reshape(len(answers), -1).astype(np.float64)
    flat = np.maximum(flat - np.quantile(flat, 0.25, axis=1, keepdims=True), 0)
    return np.asarray(flat / np.maximum(flat.max(axis=1, keepdims=True), 1e-30))


def _centres(answers: _Array) -> _Array:
    """Return for each position the mean place, 0 to 1, of the stripes that it answers to; the middle for none."""
    sharp = _sharpened(answers) ** 2
    total = sharp.sum(axis=0)
    centres = np.where(total > 0, (np.linspace(0, 1, len(sharp)) @ sharp) / np.maximum(total, 1e-30), 0.5)
    return np.asarray(centres.reshape(answers.shape[1:]))


def _agreement(found: Sequence[_Array], stated: _Array) -> _Array:
    """Return the least agreement of the *found* places [M, cells] with the *stated* ones [axes, cells], at most 1: [M].

    It is a correlation; along an axis of one cell it is 1 if all places are the same.
    """
    pairs = zip(found, stated, strict=True)
    each = [_correlation(f, s) if s.max(initial=0) > 0 else 1 - _UNEVEN * f.std(axis=1) for f, s in pairs]
    return np.asarray(np.minimum.reduce(each))


def _correlation(a: _Array, b: _Array) -> _Array:
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean()
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum())
    return np.asarray(a @ b / np.maximum(size, 1e-12))


def _grids(count: int, lengths: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the grids of up to *count* cells whose cells are about square, and those of one row or one column."""
    least = max(2, count // 2, count - _OTHER_TOKENS)
    flat = [tuple(count if axis == long else 1 for axis in range(len(lengths))) for long in range(len(lengths))]
    found = dict.fromkeys(flat)
    for first in range(1, count + 1):
        step = lengths[0] / first
        around = [{max(1, int(length / step)), round(length / step), -int(-length // step)} for length in lengths[1:]]
        for rest in product(*around):
            if least <= first * int(np.prod(rest)) <= count:
                found[first, *rest] = None
    return list(found)


def _in_quarters(answers: _Array, corners: Sequence[Sequence[int]]) -> bool:
    """Whether *answers* [corners, *grid] have their centres on the sides of the middle that *corners* state."""
    grid = answers.shape[1:]
    flat = answers.reshape(len(answers), -1).astype(np.float64)
    flat = flat / np.maximum(flat.sum(axis=1, keepdims=True), 1e-30)
    shares = np.maximum(flat - flat.min(axis=0), 0)
    if not (shares.sum(axis=1) > 0).all():
        return False
    centres = shares @ np.indices(grid).reshape(len(grid), -1).T / shares.sum(axis=1, keepdims=True)
    sides = centres > centres.mean(axis=0)
    long = [axis for axis, length in enumerate(grid) if length > 1]
    return bool((sides == np.asarray(corners, bool))[:, long].all())
