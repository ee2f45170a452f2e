"""Maps of a model that is known by its outputs only: black-box methods, run by ONNX Runtime or by a user's engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.compare.external_runner import EngineStopped
from onnxcam.errors import EngineError, MethodError
from onnxcam.graph.io import all_tensors
from onnxcam.metadata.reserved import SCORE
from onnxcam.methods import METHODS, ModelQueries, ProcedureMethod, find_method
from onnxcam.methods.base import AUTO, BATCH_SIZE
from onnxcam.methods.queries import Array
from onnxcam.model.description import ModelDescription
from onnxcam.targets.aim import ClassAim, DirectionAim, WeightsAim
from onnxcam.targets.classification import Classes
from onnxcam.targets.detection import Detections
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.registry import Task
from onnxcam.targets.scores import integer_units, real_scores

__all__ = ["BlackBox", "_Scorer", "black_box_method", "measure"]


@dataclass(frozen=True)
class _Scorer:
    """What is measured of one run: from the *tensors* of it for one image, [1, …] each, to a number."""

    tensors: tuple[str, ...]
    of: Callable[[Sequence[Array]], float]


def black_box_method(id: str, task: Task) -> str:
    """Return the id of a black-box method: *id*, or for ``"auto"`` the default of *task*.

    Raises:
        MethodError: *id* is not a black-box method.
    """
    if id == AUTO:
        return "drise" if isinstance(task, Detections) else "rise"
    known = [one.id for one in METHODS.values() if one.black_box]
    if not find_method(id).black_box:
        raise MethodError(f"black-box maps need outputs only, but {id} needs the graph; use one of {', '.join(known)}")
    return id


def measure(network: ModelDescription, task: Task, goal: Goal, graph: ir.Graph | None = None) -> _Scorer:
    """Return what a black-box method measures for *goal*: a similarity, a probability, a cosine or a weighted sum.

    *graph* is that of *network*, if it is at hand.

    Raises:
        MethodError: the score of *goal* is in no output.
    """
    if goal.similarity is not None:
        return _Scorer(goal.similarity.tensors, goal.similarity.of)
    if isinstance(goal.aim, ClassAim) and isinstance(task, Classes):
        return _of_class(network, task, int(goal.feed))
    if isinstance(goal.aim, DirectionAim):
        return _Scorer((goal.aim.tensor,), lambda found: _cosine(found[0], goal.feed))
    if isinstance(goal.aim, WeightsAim):
        return _of_weights(graph or network.open().model.graph, goal.aim, goal.feed)
    raise MethodError(f"black-box maps of the target {goal.words!r} are not supported; leave out --maps black-box")


def _of_class(network: ModelDescription, task: Classes, index: int) -> _Scorer:
    """Return the probability of a class; its score where the model gives no probability."""
    scores = task.scores

    def of(found: Sequence[Array]) -> float:
        sure = network.probabilities({scores.output: found[0]}, np.array([index]))
        if sure is not None:
            return float(sure[0])
        real = real_scores(scores, found[0][0])
        return float((found[0].reshape(-1) if real is None else real)[index])

    return _Scorer((scores.output,), of)


def _cosine(embedding: Array, direction: Array) -> float:
    """Return y · d / |y|; of tokens and of a grid, y is their mean."""
    y = embedding[0].astype(np.float64)
    if y.ndim > 1 and y.size != direction.size:
        y = y.mean(axis=0) if y.ndim == 2 else y.mean(axis=(1, 2))
    y = y.reshape(-1)
    return float(y @ direction.reshape(-1) / max(float(np.linalg.norm(y)), 1e-12))


def _of_weights(graph: ir.Graph, aim: WeightsAim, weights: Array) -> _Scorer:
    """Return the weighted sum of an output, in real numbers."""
    output = _output_of(graph, aim.tensor)
    if output is None:
        raise MethodError(
            f"the target is a part of {aim.tensor!r}, a tensor inside the graph; black-box maps need an output"
        )
    units = integer_units(output)
    scale, zero = (1.0, 0) if units is None or units.known is None else units.known

    def of(found: Sequence[Array]) -> float:
        (y,) = found
        bare = y if aim.batch is None else np.moveaxis(y, aim.batch, 0)[0]
        if bare.shape != weights.shape:
            raise MethodError(
                f"the output {output.name!r} has the shape {list(bare.shape)} for a covered image instead of "
                f"{list(weights.shape)}; black-box maps need outputs of one shape"
            )
        return float(((bare.astype(np.float64) - zero) * scale * weights).sum())

    return _Scorer((output.name or "",), of)


def _output_of(graph: ir.Graph, tensor: str) -> ir.Value | None:
    """Return the output that is *tensor*, or that elementwise operators such as Clip make of it; None for none."""
    wanted = all_tensors(graph).get(tensor)
    for output in graph.outputs:
        value: ir.Value | None = output
        while value is not None and value is not wanted and value.name != tensor:
            node = value.producer()
            value = node.inputs[0] if node is not None and node.inputs else None
            value = value if value is not None and str(value.shape) == str(output.shape) else None
        if value is not None:
            return output
    return None


@dataclass
class _Runs:
    """Runs of a model on covered images, several at once where it takes them; equal images are run once.

    Attributes:
        look: The look at the image.
        measures: What is measured of each run.
        tensors: The tensors that they need; None for the outputs.
        several: Whether the model takes several images at once.
        tell: Takes a warning.
    """

    look: Look
    measures: Sequence[_Scorer]
    several: bool
    tell: Callable[[str], None]
    _known: dict[bytes, Array] = field(default_factory=dict)

    def __call__(self, batch: Array) -> Array:
        """Return the measures [B, measures] for a batch of tensors."""
        keys = [hashlib.blake2b(np.ascontiguousarray(one).tobytes(), digest_size=16).digest() for one in batch]
        new = {key: number for number, key in enumerate(keys) if key not in self._known}
        if new:
            rows = self._rows(batch[list(new.values())])
            self._known.update(zip(new, rows, strict=True))
        return np.stack([self._known[key] for key in keys])

    def _rows(self, batch: Array) -> list[Array]:
        if self.several and len(batch) > 1:
            found = self._together(batch)
            if found is not None:
                return [self._measured({name: y[n : n + 1] for name, y in found.items()}) for n in range(len(batch))]
            self.several = False
            self.tell("the model does not take several images at once: covered images are run one by one")
        return [self._measured(self._run(one[None])) for one in batch]

    def _together(self, batch: Array) -> Mapping[str, Array] | None:
        """Return the tensors for a batch; None where the model does not give a row for each image."""
        try:
            found = self._run(batch)
        except EngineStopped:
            raise
        except EngineError:
            return None
        return found if all(y.shape[:1] == (len(batch),) for y in found.values()) else None

    def _run(self, batch: Array) -> dict[str, Array]:
        look = self.look.given({self.look.image: batch})
        names = list(dict.fromkeys(name for one in self.measures for name in one.tensors))
        return dict(zip(names, look.tensors(names), strict=True))

    def _measured(self, row: Mapping[str, Array]) -> Array:
        return np.array([one.of([row[name] for name in one.tensors]) for one in self.measures], np.float64)


@dataclass(frozen=True, kw_only=True)
class _OutputQueries(ModelQueries):
    """The queries about one image and one measure.

    Covered pixels are grey: zeros of a tensor are another colour in each preprocessing, and both models of a comparison
    must see the same. The mean over the masks is subtracted: both models have the same masks, so the density of the
    masks, times a score that no mask changes, would pass for agreement.
    """

    runs: _Runs
    number: int
    grey: Array

    def masked(self, mask: Array, baseline: float = 0.0) -> Array:
        """Return the image where *mask* is 1, and grey, or the *baseline* that the user states, where it is 0."""
        if baseline:
            return super().masked(mask, baseline)
        weight = np.expand_dims(mask, self._layout().channel - 1)
        found: Array = weight * self.x + (1 - weight) * self.grey
        return found.astype(np.float32, copy=False)

    def run(self, batch: Array, outputs: Sequence[str]) -> Mapping[str, Array]:
        """Return the measure as the score."""
        return {SCORE: self.runs(batch)[:, self.number]}

    def run_head(self, activations: Array) -> Array:
        """Raise MethodError: there is no graph."""
        raise MethodError("black-box maps need outputs only; this method needs the graph")

    def run_probabilities(self, batch: Array) -> Array:
        """Return the measure."""
        return self.runs(batch)[:, self.number]

    def run_similarities(self, batch: Array) -> Array:
        """Return the measure."""
        return self.runs(batch)[:, self.number]

    def probabilities(self, samples: Any, total: int) -> Array:
        """Return the measure of each sample, less the mean."""
        return _centred(super().probabilities(samples, total))

    def similarities(self, samples: Any, total: int) -> Array:
        """Return the measure of each sample, less the mean."""
        return _centred(super().similarities(samples, total))


def _centred(found: Array) -> Array:
    return np.asarray(found - found.mean())


@dataclass
class BlackBox:
    """One black-box method on one model.

    Attributes:
        network: The model.
        task: What its outputs are read as.
        method: The method.
        settings: Its settings, all of them.
        tell: Takes a warning, once.
    """

    network: ModelDescription
    task: Task
    method: ProcedureMethod
    settings: Mapping[str, Any]
    tell: Callable[[str], None]

    @cached_property
    def _graph(self) -> ir.Graph:
        return self.network.open().model.graph

    def maps(self, look: Look, grey: Array, goals: Sequence[Goal]) -> list[Array]:
        """Return the raw map [h, w] of each of *goals* in the image of *look*; *grey* is the tensor of a grey image."""
        if any(goal.inputs for goal in goals) and len(goals) > 1:  # each goal has runs of its own
            return [one for goal in goals for one in self.maps(look, grey, [goal])]
        for goal in goals:
            look = look.given({name: value[None] for name, value in goal.inputs.items()})
        tensor = np.asarray(look.feeds[look.image])
        measures = [measure(self.network, self.task, goal, self._graph) for goal in goals]
        runs = _Runs(look, measures, self._takes_several(look, goals), self.tell)
        whole = runs(tensor)
        return [self._map(tensor[0], grey[0], runs, number, whole[:, number]) for number in range(len(goals))]

    def _map(self, picture: Array, grey: Array, runs: _Runs, number: int, score: Array) -> Array:
        settings = dict(self.settings)
        queries = _OutputQueries(
            picture=picture,
            outputs={SCORE: score},
            layout=self.network.layout,
            layer_layout=None,
            batch_size=settings.pop(BATCH_SIZE),
            runs=runs,
            number=number,
            grey=grey.astype(np.float32),
        )
        return np.asarray(self.method.run(queries, **settings), np.float32)

    def _takes_several(self, look: Look, goals: Sequence[Goal]) -> bool:
        shape = self.network.image.shape
        is_open = shape is not None and not isinstance(shape[0], int)
        return is_open and len(look.feeds) == 1 and not any(goal.aim.single for goal in goals)
