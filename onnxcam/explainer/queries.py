"""What a procedure asks about one image, answered by its explanation graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.errors import MethodError
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.request import Array, Arrays, ExplanationRequest
from onnxcam.metadata.reserved import ACTIVATION, AROUND, CHOSEN, SCORE
from onnxcam.methods import ModelQueries
from onnxcam.model.description import ModelDescription
from onnxcam.targets.scores import TOP

__all__ = ["GraphQueries"]


@dataclass(frozen=True, kw_only=True)
class GraphQueries(ModelQueries):
    """The queries about the one image of *request*; *outputs* are those of one pass of it."""

    method: str
    network: ModelDescription
    compiled: CompiledExplanation
    request: ExplanationRequest

    def run(self, batch: Array, outputs: Sequence[str]) -> Arrays:
        """Return *outputs* of the explanation graph, for the target of the image."""
        return self.compiled.run(self._feeds(batch), outputs)

    def run_head(self, activations: Array) -> Array:
        """Return the scores of the head; the tensors that bypass the layer are those of the image."""
        return self.compiled.run_head(self._head_feeds(activations))[SCORE]

    def classes_behind(self, activations: Iterable[Array], total: int) -> tuple[Array, Array | None] | None:
        """Return the class with the highest score for each of *activations*, [K, *space], and its probability.

        int64 [total] and float64 [total], None where the model gives no probabilities; None of a model without
        classes.
        """
        names = self.network.probability_outputs
        if names is None or CHOSEN not in self.outputs:
            return None
        parts = []
        for batch in self._batches(activations, total):
            feeds = self._head_feeds(self._replaced(batch))
            feeds[self.compiled.aim.input] = np.full(len(batch), TOP)
            parts.append(self.compiled.run_head(feeds, [CHOSEN, *names]))
        found = {name: np.concatenate([part[name] for part in parts]) for name in (CHOSEN, *names)}
        return found[CHOSEN], self.network.probabilities(found, found[CHOSEN])

    def _head_feeds(self, activations: Array) -> dict[str, Array]:
        """Return the inputs of the head for activations [B, …]."""
        count = len(activations)
        batch = np.broadcast_to(self.picture, (count, *self.picture.shape))
        around = {
            name: np.repeat(self.outputs[name.removeprefix(AROUND)], count, axis=0) for name in self.compiled.around
        }
        return {**self._feeds(batch), **around, ACTIVATION: activations}

    def run_probabilities(self, batch: Array) -> Array:
        """Return the class's probabilities; MethodError where the model's scores give none."""
        names, classes = self.network.probability_outputs, self.outputs.get(CHOSEN)
        if names is None or classes is None:
            return self.run(batch, [SCORE])[SCORE]
        found = self.network.probabilities(self.run(batch, names), np.repeat(classes, len(batch)))
        if found is None:
            raise MethodError(
                f"{self.method} needs probabilities, but the model's scores are integers of unknown meaning, or above "
                "1; use --method occlusion"
            )
        return found

    def run_similarities(self, batch: Array) -> Array:
        """Return the similarities, of one run for each image; MethodError where the target is no detection."""
        (goal,), found = self.request.goals, []
        if goal.similarity is None:
            raise MethodError(
                f"{self.method} compares detections, but the target {goal.words!r} is no box of a detector; "
                "use --method rise"
            )
        for tensor in batch:
            look = self.network.look(tensor[None], None, self.request.extra)
            outputs = look.run(look.feeds, goal.similarity.tensors)
            found.append(goal.similarity.of([outputs[name] for name in goal.similarity.tensors]))
        return np.array(found)

    def _feeds(self, batch: Array) -> dict[str, Array]:
        (goal,), count = self.request.goals, len(batch)
        feeds = ExplanationRequest(batch, [goal] * count, self.request.extra).feeds(self.network)
        target = self.outputs.get(CHOSEN, goal.feed[None])
        return {**feeds, goal.aim.input: np.repeat(target, count, axis=0)}
