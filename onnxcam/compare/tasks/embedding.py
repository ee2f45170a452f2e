"""Comparison of embeddings: the direction of each vector, and the nearest images of each image."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare import similarity
from onnxcam.compare.on_access import true_annotations
from onnxcam.compare.outcome import FEW, Agreement, Answer, Prediction
from onnxcam.compare.slices import TruthScores, truth_slices
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted
from onnxcam.errors import MetricError, TargetError
from onnxcam.metrics.accuracy_embeddings import recall_at_one
from onnxcam.targets import parse
from onnxcam.targets.embedding import Embedding
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.kinds import Like, Top

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = ["DEFAULTS", "NEAREST", "SAME", "EmbeddingObservation", "EmbeddingPrediction", "nearest_shared"]

DEFAULTS = "cosine>=0.9, neighbours>=0.8, mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised embedding against its float reference.

Measured on models/embedder and a MobileFaceNet, as static int8 and with one activation scale divided by 12: `cosine` is
1.00 and 0.99 sound, 0.64 and 0.75 spoilt; `neighbours` 0.99 and 0.91, 0.72 and 0.40; `pearson` 1.00 and 0.99, 0.88 and
0.95.
"""

NEAREST = 5
"""Maximum number of nearest images that are compared."""
SAME = 0.999
"""Cosine from which on two vectors are the same."""
_ROWS = 1024
"""Vectors that are compared with all others at a time."""


@dataclass(frozen=True)
class EmbeddingPrediction(Prediction):
    """Embedding of one image: float32 [D], of length 1; zero if the model's is."""

    vector: NDArray[np.float32]

    task = "embedding"
    metrics = ("cosine", "neighbours")
    truth_metrics = ("recall1",)
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "vector": "float [d]",
    }

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the length of the vector."""
        return Answer(f"a vector of {len(self.vector)} numbers")

    def compare(self, candidate: EmbeddingPrediction) -> Agreement:
        """Compare the directions; the vectors are kept for `over_all`."""
        lengths = len(self.vector), len(candidate.vector)
        if lengths[0] != lengths[1]:
            raise MetricError(
                f"the reference's embedding has {lengths[0]} numbers and the candidate's {lengths[1]}: vectors of "
                "different lengths are not compared; export both from one network"
            )
        values = {"cosine": similarity.cosine(self.vector, candidate.vector)}
        blank = [side for side, one in (("reference", self), ("candidate", candidate)) if not one.vector.any()]
        notes = [f"no cosine: the {side}'s embedding is zero" for side in blank]
        notes += [
            f"the {side}'s embedding holds NaN or infinity"
            for side, one in (("reference", self), ("candidate", candidate))
            if not np.isfinite(one.vector).all()
        ]
        return Agreement(values, notes, {"vectors": [_packed(one.vector) for one in (self, candidate)]})

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores:
        """Return the recall at 1 of both: whether the nearest other image is of the same class."""
        own = [*true_annotations(comparisons, truth)]
        first, second = (recall_at_one(vectors, own) for vectors in _vectors(comparisons))
        slices = truth_slices("recall1", "class", first.counts, [first.by_class, second.by_class])
        return TruthScores({"recall1": (first.recall, second.recall)}, slices)

    @classmethod
    def over_all(cls, comparisons: Sequence[ImageComparison]) -> Mapping[str, Sequence[float]]:
        """Return for each image the share of its nearest images that are the same by both models."""
        reference, candidate = _vectors(comparisons)
        return {"neighbours": nearest_shared(reference, candidate).tolist()}

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return whether one of the models gives all images the same vector.

        Raises:
            MetricError: the reference does.
        """
        if len(comparisons) <= FEW:
            return []
        alike = [_mean_cosine(vectors) for vectors in _vectors(comparisons)]
        if alike[0] > SAME:
            raise MetricError(
                f"the reference gives all {len(comparisons)} images the same vector: nothing can be compared; give "
                "other images, or check --preprocess"
            )
        if alike[1] > max(0.9, (1 + alike[0]) / 2):
            return [
                f"the candidate's vectors are alike: the mean cosine of two images is {alike[1]:.3f}, of the reference "
                f"{alike[0]:.3f}; it tells images apart less well"
            ]
        return []


class EmbeddingObservation(Observation):
    """Embeddings. A text, an image or a vector is explained that the user names (``like=``), else the default target of
    `onnxcam explain`: what tells the image from an empty one.
    """

    task = Embedding
    prediction = EmbeddingPrediction

    def predict(self, model: Observed, look: Look) -> EmbeddingPrediction:
        """Return the embedding of one image."""
        assert isinstance(model.network.task, Embedding)
        return EmbeddingPrediction(model.network.task.vector(look))

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the default target."""
        return ["top"]

    def check(self, model: Observed, target: int | str) -> None:
        """Raise TargetError for a target that is neither ``"top"`` nor a comparison, or that means nothing here.

        What an image is compared with does not depend on the image: a text without a tower, or too long for it, a
        vector of another length or a missing file is found before any image is read. ImageError, ModelError likewise.
        """
        wish = parse(target)
        if wish == Top():
            return
        if not isinstance(wish, Like):
            raise TargetError(
                f"target {target!r} is not for {model.network.task.name}: leave it out, or name what images are "
                'compared with, like=FILE or like="a dog"'
            )
        model.network.resolve(wish, model.network.probe_look())

    def score(self, prediction: Prediction, goal: Goal, outputs: Mapping[str, NDArray[Any]]) -> float | None:
        """Return the cosine with what the image is compared with, or the difference of two; None for the default."""
        if goal.words == "top":
            return None
        assert isinstance(prediction, EmbeddingPrediction)
        return float(prediction.vector @ goal.feed)


def nearest_shared(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each image the share of its nearest other images that are the same by both, of vectors [N, D].

    The nearest k images have the highest cosines: k is a quarter of the other images, at least 1 and at most `NEAREST`.
    Of one image, the share is 1.

    Example:
        >>> nearest_shared(np.float32([[1, 0], [0.9, 0.1], [0, 1]]), np.float32([[1, 0], [0.9, 0.1], [0, 1]]))
        array([1., 1., 1.])
    """
    count = min(len(reference) - 1, max(1, min(NEAREST, (len(reference) - 1) // 4)))
    if count < 1:
        return np.ones(len(reference))
    first, second = (_nearest(vectors, count) for vectors in (reference, candidate))
    return np.asarray((first[:, :, None] == second[:, None]).any(axis=2).mean(axis=1))


def _nearest(vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the *count* nearest other images of each, [N, count]."""
    found = []
    for start in range(0, len(vectors), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        found.append(np.argsort(-cosines, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)


def _mean_cosine(vectors: NDArray[np.float32]) -> float:
    """Return the mean cosine of two images, of vectors [N, D] of length 1."""
    count, total = len(vectors), vectors.sum(axis=0, dtype=np.float64)
    squares = float((vectors.astype(np.float64) ** 2).sum())
    return (float(total @ total) - squares) / (count * (count - 1))


def _packed(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")


def _vectors(comparisons: Sequence[ImageComparison]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the vectors of reference and candidate, float32 [N, D] each."""
    pairs = [[np.frombuffer(base64.b64decode(one), "<f2") for one in pair.details["vectors"]] for pair in comparisons]
    reference, candidate = (np.array(side, np.float32) for side in zip(*pairs, strict=True))
    return reference, candidate
