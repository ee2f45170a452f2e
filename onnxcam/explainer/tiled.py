"""Maps of inputs larger than the network's window: the maps of tiles, each for its part of the score, added up.

The joined output is a mean of the tiles' outputs, weighted at each place by w_t with Σ_t w_t = 1, and the score is a
weighted sum Σ c · y of its elements. So it is Σ_t Σ (c w_t) · y_t: each tile is explained for the weights c w_t, and
the gradient of the whole is the sum of the gradients of the tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnxcam.errors import MethodError
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.request import Array, Arrays, ExplanationRequest
from onnxcam.explainer.runner import Runner
from onnxcam.explainer.tiled_channels import ChannelSums
from onnxcam.media.resample import placed, resized
from onnxcam.media.tiles import Tile
from onnxcam.metadata.reserved import MAP, SCORE
from onnxcam.methods.base import NONE, SMOOTH, GraphMethod, MethodsWith
from onnxcam.model.stitched import StitchedOutput
from onnxcam.targets import Goal

__all__ = ["TiledRunner"]


@dataclass(frozen=True)
class TiledRunner:
    """Runs requests tile by tile: the tensors of one tile are in memory at a time, and the sums.

    Attributes:
        runner: Explains one tile.
        stitched: The network's output over tiles.

    Raises:
        MethodError: the maps of parts of a score do not add up to the map of the score.
    """

    runner: Runner
    stitched: StitchedOutput
    _sums: dict[int, ChannelSums] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check the method."""
        method, smooth = self.runner.method, self.runner.settings.get(SMOOTH, NONE)
        if not (method.additive or method.weights):
            raise MethodError(
                f"the maps of {method.id} for windows do not add up to the map of the whole; with a window (--window) "
                f"use --method {', '.join(MethodsWith('weights').ids + MethodsWith('additive').ids)}"
            )
        if smooth != NONE:
            raise MethodError(f"smooth={smooth} (--smooth) does not apply with a window (--window); leave one out")

    def run(self, request: ExplanationRequest) -> list[tuple[CompiledExplanation, Arrays]]:
        """Return for each input its sessions and its outputs, [1, …] each: `MAP` and `SCORE` of the whole.

        The map has the size of the whole input, also for methods at a layer.
        """
        return [self._whole(request.of([row])) for row in range(len(request))]

    def outputs(self, request: ExplanationRequest, names: Sequence[str]) -> dict[str, Array]:
        """Return the scores of the whole inputs, [N]; *names* are those of the score."""
        rows = [list(self._parts(request.of([row]))) for row in range(len(request))]
        scores = [sum(self.runner.outputs(part, [SCORE])[SCORE] for _, part in parts) for parts in rows]
        return {name: np.concatenate(scores) for name in names}

    def heaviest(self, request: ExplanationRequest) -> ExplanationRequest:
        """Return the tile of *request*, of one input, on which its score depends most."""
        goals = self.stitched.goals(request.goals[0], request.tensor)
        return self._part(request, *max(goals, key=lambda goal: np.abs(goal[1]).sum()))

    def _whole(self, request: ExplanationRequest) -> tuple[CompiledExplanation, Arrays]:
        compiled = self.runner.compiled(self.heaviest(request))  # the layer is chosen where the target is
        if isinstance(self.runner.method, GraphMethod) and self.runner.method.weights is not None:
            return compiled, self._weighed(request, self._channels(compiled, self.runner.method))
        axes, at_layer = self.stitched.layout.space, self.runner.method.at_layer
        size = [request.tensor.shape[axis] for axis in axes]
        total = np.zeros(size if at_layer else request.tensor.shape[1:], np.float32)
        space = range(len(size)) if at_layer else [axis - 1 for axis in axes]
        score = np.zeros(1)
        parts: Iterable[tuple[Tile, ExplanationRequest]] = self._parts(request)
        if self.runner.method.in_graph:  # a procedure shows its own progress
            parts = self.runner.progress(parts, self.stitched.count(request.goals[0], request.tensor))
        for tile, part in parts:
            ((compiled, found),) = self.runner.run(part)
            raw = found[MAP][0]
            tile.add(total, self._at_window(raw, compiled) if at_layer else raw, list(space))
            score += found[SCORE].astype(np.float64)
        return compiled, {MAP: total[None], SCORE: score}

    def _channels(self, compiled: CompiledExplanation, method: GraphMethod) -> ChannelSums:
        """Return the graphs for the layer of *compiled*; MethodError where there are several layers."""
        if len(compiled.choices) != 1:
            raise MethodError(f"with a window (--window) {method.id} explains one layer; name one (--layer)")
        if id(compiled) not in self._sums:
            self._sums[id(compiled)] = ChannelSums.build(compiled, method, spin=self.runner.spin)
        return self._sums[id(compiled)]

    def _weighed(self, request: ExplanationRequest, channels: ChannelSums) -> Arrays:
        """Return the map and the score of a method that weighs channels: the joined sums of all tiles."""
        network, axes = self.runner.network, self.stitched.layout.space
        found = [channels.weigh(part.feeds(network)) for _, part in self._parts(request)]
        weights = np.asarray(sum(one for one, _ in found))
        total = np.zeros([request.tensor.shape[axis] for axis in axes], np.float32)
        space = range(total.ndim)
        blank = np.zeros(self._cells(request.goals[0]), np.float32)
        for tile, _ in self.stitched.tiles(request.tensor):
            part = self._part(request, tile, blank)
            cells = self._at_window(channels.map(part.feeds(network), weights), channels.sums)
            tile.add(total, tile.weighed(cells, space), space)
        positive = total if self.runner.signed else np.maximum(total, 0)
        return {MAP: positive[None], SCORE: np.array([sum(score for _, score in found)])}

    def _cells(self, goal: Goal) -> list[int]:
        """Return the shape of the weights of *goal* for one tile."""
        shape = list(goal.feed.shape)
        for axis, length in zip(self.stitched.space, self.stitched.cells, strict=True):
            shape[axis - 1] = length
        return shape

    def _parts(self, request: ExplanationRequest) -> Iterator[tuple[Tile, ExplanationRequest]]:
        """Yield each tile that the score of *request* depends on, and what is explained in it."""
        for tile, feed in self.stitched.goals(request.goals[0], request.tensor):
            yield tile, self._part(request, tile, feed)

    def _part(self, request: ExplanationRequest, tile: Tile, feed: Array) -> ExplanationRequest:
        """Return *tile* of *request*, explained for the share of the score with the weights *feed*."""
        tensor = tile.cut(request.tensor, self.stitched.layout.space)
        return ExplanationRequest(tensor, [replace(request.goals[0], feed=feed)], request.extra)

    def _at_window(self, cells: Array, compiled: CompiledExplanation) -> Array:
        """Return the map *cells* of a tile at the size of the window."""
        window = self.stitched.tiling.window
        place = compiled.place(window) if compiled.layers else None
        if place is not None:
            return placed(place.upright(cells), place.intervals, place.seen, window)
        return cells if cells.shape == window else resized(cells, window)
