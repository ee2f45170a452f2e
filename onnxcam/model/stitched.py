"""The output of a network for an input larger than its window: tiles are run one by one and joined by their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxcam.errors import ModelError, TargetError
from onnxcam.media.tiles import Tile, Tiling
from onnxcam.structure.layout import GridLayout
from onnxcam.targets import Task
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.dense import DenseOutput
from onnxcam.targets.goal import Array, Goal

__all__ = ["StitchedOutput", "joinable"]

_FAR_APART = 0.02
"""Windows whose outputs differ by a larger share of the variance do not see all that the network uses (decision 32)."""


def joinable(task: Task) -> DenseOutput | None:
    """Return the output of *task* that windows can join: a value for each place; None where it has no such."""
    output = task.dense
    return None if output is None or output.grid or type(output) is not DenseOutput else output


@dataclass(frozen=True)
class StitchedOutput:
    """The dense output of a network over tiles.

    Attributes:
        output: The output.
        tiling: The windows.
        layout: The axes of the image input.
        cells: The lengths of the output for one window.
    """

    output: DenseOutput
    tiling: Tiling
    layout: GridLayout
    cells: tuple[int, ...]

    @classmethod
    def of(
        cls, task: Task, tiling: Tiling, layout: GridLayout, run: Callable[[str], Array], covers: Callable[..., bool]
    ) -> StitchedOutput:
        """Return the output of *task* over tiles; ModelError where it has no value for each place of the window.

        *run* returns the tensor of a name for one window; *covers* says whether a tensor and its layout cover it.
        """
        output = joinable(task)
        if output is None:
            raise ModelError(
                f"a window (--window) is for models with a value for each pixel or voxel, and this is {task.name}; "
                "leave it out"
            )
        if output.layout is not None and not covers(output.tensor, output.layout):
            raise ModelError(
                f"the output {output.tensor!r} does not cover its window evenly, so windows cannot be joined; export "
                "the model with padded convolutions"
            )
        y = run(output.tensor)
        space = range(1, y.ndim) if output.layout is None else output.layout.space
        return cls(output, tiling, layout, tuple(y.shape[axis] for axis in space))

    @property
    def space(self) -> tuple[int, ...]:
        """The spatial axes of the output."""
        return tuple(range(1, 1 + len(self.cells))) if self.output.layout is None else self.output.layout.space

    def tiles(self, tensor: Array) -> Iterator[tuple[Tile, Tile]]:
        """Yield the tiles of the image's *tensor* [1, …], each as the window of the input and that of the output."""
        size = [tensor.shape[axis] for axis in self.layout.space]
        yield from zip(self.tiling.tiles(size), self.tiling.tiles(size, self.cells), strict=True)

    def join(self, tensor: Array, run: Callable[[Array], Array]) -> tuple[Array, float]:
        """Return the output for *tensor* [1, …], the weighted mean of what *run* returns for its tiles, float32.

        And by how much tiles differ where they overlap: their weighted variance around that mean, as a share of its
        variance over space. Without an overlap two further tiles, in the middle, show it.
        """
        found, squares = self._joined(tensor, run)
        if self.tiling.overlap > 0:
            return found, self._apart(found, squares)
        part = self._middle(tensor)
        overlapping = replace(self, tiling=replace(self.tiling, overlap=0.5))
        return found, 0.0 if part is None else overlapping._apart(*overlapping._joined(part, run))

    def warning(self, apart: float, *, is_fixed: bool) -> str:
        """Return a warning where tiles are so far *apart* that the network sees further than one; else nothing.

        *is_fixed*: the network takes no other window.
        """
        if apart <= _FAR_APART:
            return ""
        larger = "and it takes no larger window; export it for one, or resample the image to fewer windows"
        return (
            f"windows differ where they overlap, by {apart:.0%} of the variance of {self.output.tensor!r}: the network "
            f"sees further than a window of {self.tiling}, so prediction and map are not those of the whole"
            f"{', ' + larger if is_fixed else '; take a larger window (--window)'}"
        )

    def _apart(self, found: Array, squares: float) -> float:
        """Return (*squares* − Σ *found*²) / Σ (*found* − m)², with m the mean of each channel over space."""
        own = spread = 0.0
        for channel in np.moveaxis(found, self.space, range(-len(self.space), 0)).reshape(-1, *self._size(found)):
            own += float(np.square(channel, dtype=np.float64).sum())
            spread += float(channel.size * channel.var(dtype=np.float64))
        return (squares - own) / max(spread, 1e-30)

    def _size(self, output: Array) -> list[int]:
        return [output.shape[axis] for axis in self.space]

    def _middle(self, tensor: Array) -> Array | None:
        """Return one and a half windows from the middle of *tensor*; None where it has no two, or they do not fit."""
        size, window = [tensor.shape[axis] for axis in self.layout.space], self.tiling.window
        long = next((i for i, (n, own) in enumerate(zip(size, window, strict=True)) if n >= own + own // 2), None)
        if long is None or self.cells != window:
            return None
        index = [slice(None)] * tensor.ndim
        for number, (axis, n, own) in enumerate(zip(self.layout.space, size, window, strict=True)):
            length = own + (own // 2 if number == long else 0)
            start = max(0, n - length) // 2
            index[axis] = slice(start, start + length)
        return tensor[tuple(index)]

    def _joined(self, tensor: Array, run: Callable[[Array], Array]) -> tuple[Array, float]:
        """Return the weighted mean over tiles, and the sum over all places of that of the squares."""
        found: Array | None = None
        squares, size = 0.0, [tensor.shape[axis] for axis in self.layout.space]
        for window, cells in self.tiles(tensor):
            y = run(window.cut(tensor, self.layout.space)).astype(np.float32)
            if found is None:
                shape = list(y.shape)
                for axis, length in zip(self.space, self.tiling.output_size(size, self.cells), strict=True):
                    shape[axis] = length
                found = np.zeros(shape, np.float32)
            weighed = cells.weighed(y, self.space)
            cells.add(found, weighed, self.space)
            inside = (cells.kept(one, found, self.space) for one in (weighed, y))
            squares += float(np.multiply(*inside).sum(dtype=np.float64))
        assert found is not None
        return found, squares

    def goals(self, goal: Goal, tensor: Array) -> Iterator[tuple[Tile, Array]]:
        """Yield the tiles of *tensor* whose output *goal* depends on, with the weights of each.

        The score is a weighted sum of the joined output, so it is the sum over tiles of such sums.
        """
        aim, axes = goal.aim, [axis - 1 for axis in self.space]
        if not isinstance(aim, WeightsAim) or aim.tensor not in (self.output.tensor, self.output.before):
            raise TargetError(
                f"with a window (--window) a target is a part of {self.output.tensor!r}, the output that is joined, "
                f"and {goal.words!r} is not"
            )
        for window, cells in self._used(goal, tensor):
            yield window, cells.weighed(cells.cut(goal.feed, axes), axes)

    def count(self, goal: Goal, tensor: Array) -> int:
        """Return the number of tiles of *tensor* whose output *goal* depends on."""
        return sum(1 for _ in self._used(goal, tensor))

    def _used(self, goal: Goal, tensor: Array) -> Iterator[tuple[Tile, Tile]]:
        axes = [axis - 1 for axis in self.space]
        yield from ((window, cells) for window, cells in self.tiles(tensor) if cells.inside(goal.feed, axes).any())

    def outputs(
        self, names: Sequence[str] | None, declared: Sequence[str], join: Callable[[], Array]
    ) -> Mapping[str, Array]:
        """Return the joined output by its name, if it is one of *names*; None: of the outputs *declared*."""
        wanted = declared if names is None else names
        others = [] if names is None else [name for name in names if name != self.output.tensor]
        if others:
            raise TargetError(
                f"with a window (--window) only {self.output.tensor!r} is joined, and the target reads {others[0]!r}"
            )
        return {self.output.tensor: join()} if self.output.tensor in wanted else {}
