"""Maps of a network between its float and its quantised form: before and after a tensor is quantised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare import similarity
from onnxcam.compare.alignment import MapEvidence
from onnxcam.compare.observer import PreparedImage
from onnxcam.compare.report.panel import overlays
from onnxcam.diagnosis.diagnosis import Diagnosis, TensorDiagnosis
from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.engine import Session
from onnxcam.errors import GradientError, TargetError
from onnxcam.explainer.request import ExplanationRequest
from onnxcam.graph.io import all_tensors, building
from onnxcam.media import image
from onnxcam.metadata.reserved import MAP, SCORE
from onnxcam.methods import GraphMethod, Method, explanation_graph, find_method, read_settings
from onnxcam.structure.layer import Layer
from onnxcam.targets.aim import Aim
from onnxcam.targets.goal import Goal

if TYPE_CHECKING:
    from onnxcam.diagnosis.diagnose import Subject

__all__ = ["SHOWN", "BeforeAfter", "MapView", "before_and_after"]

SHOWN = 3
"""Maximum number of tensors whose effect is shown in an image."""
_LEAST = 0.02
"""Share of the damage of all but the first of them."""


@dataclass(frozen=True)
class MapView:
    """One map over the image.

    Attributes:
        title: What is quantised.
        picture: The overlay, as a data URI.
        score: The score of what is explained.
        iou: Overlap of the highest fifth with the float network's map; None if one is blank.
    """

    title: str
    picture: str
    score: float
    iou: float | None


@dataclass(frozen=True)
class BeforeAfter:
    """The effect of one tensor in the image where it is largest.

    Attributes:
        tensor: The tensor, and its rank.
        rank: Its rank, from 1.
        image: The image.
        target: What is explained.
        picture: The image as a data URI.
        views: The maps of the float network, of the quantised one, with only this tensor quantised, and with all but
            this one quantised.
        size: Width and height of the pictures.
    """

    tensor: TensorDiagnosis
    rank: int
    image: str
    target: str
    picture: str
    views: Sequence[MapView]
    size: tuple[int, int]


def before_and_after(diagnosis: Diagnosis, subject: Subject, target: int | str = "top") -> list[BeforeAfter]:
    """Return the effect of each of the worst tensors; none if the method makes no maps in a graph."""
    method = find_method(subject.real.method)
    if not isinstance(method, GraphMethod):
        return []
    drawer = _Drawer(subject, method, target)
    worst = [
        (rank, one)
        for rank, one in enumerate(diagnosis.tensors[:SHOWN], 1)
        if "map" in one.effects and (rank == 1 or one.share >= _LEAST)
    ]
    found = [drawer(rank, one) for rank, one in worst]
    return [one for one in found if one is not None]


class _Drawer:
    """Draws the maps of the mixture. Sessions are made once for each kind of scalar."""

    def __init__(self, subject: Subject, method: Method, target: int | str) -> None:
        self._subject, self._method, self._target = subject, method, target
        self._images = {one.picture: one for one in subject.images}
        self._sessions: dict[Any, _MixtureSession] = {}

    def __call__(self, rank: int, tensor: TensorDiagnosis) -> BeforeAfter | None:
        """Return the effect of *tensor*; None if nothing is explained in its image."""
        prepared = self._images[tensor.effects["map"].worst]
        try:
            goal = next(iter(self._subject.goals(prepared, self._target)), None)
            if goal is None:
                return None
            request = ExplanationRequest(prepared.tensor, [goal])
            session = self._session(goal.aim, self._subject.real.layers(request))
        except (GradientError, TargetError):
            return None
        inputs = {name: array[None] for name, array in goal.inputs.items()}
        feeds = {**self._subject.real.look(prepared).feeds, **inputs, goal.aim.input: np.asarray(goal.feed)[None]}
        found = {title: session(feeds, shares) for title, shares in self._mixtures(tensor).items()}
        return self._drawn(rank, tensor, prepared, goal, request, found)

    def _mixtures(self, tensor: TensorDiagnosis) -> dict[str, NDArray[np.float32]]:
        mixture = self._subject.mixture
        alone = mixture.shares({tensor.tensor: 1.0})
        return {
            "float": mixture.shares(0.0),
            "all quantised": mixture.shares(1.0),
            "only this tensor quantised": alone,
            "all but this tensor quantised": 1 - alone,
        }

    def _drawn(
        self,
        rank: int,
        tensor: TensorDiagnosis,
        prepared: PreparedImage,
        goal: Goal,
        request: ExplanationRequest,
        found: Mapping[str, tuple[NDArray[Any], float]],
    ) -> BeforeAfter:
        placed = [self._subject.real.placed(raw, prepared, request) for raw, _ in found.values()]
        heats = [
            MapEvidence(np.nan_to_num(np.maximum(raw, 0), posinf=0.0), frame, prepared.size).thumbnail()
            for raw, frame in placed
        ]
        top = max(float(heat.max()) for heat in heats) or 1.0
        pictures, width, height = overlays(image.read(prepared.picture), [heat / np.float32(top) for heat in heats])
        views = [
            MapView(title, drawn, score, _iou(heats[0], heat))
            for (title, (_, score)), drawn, heat in zip(found.items(), pictures[1:], heats, strict=True)
        ]
        return BeforeAfter(tensor, rank, prepared.picture, goal.words, pictures[0], views, (width, height))

    def _session(self, aim: Aim, layers: Sequence[Layer]) -> _MixtureSession:
        key = aim, tuple(layer.tensor for layer in layers)
        if key not in self._sessions:
            real = self._subject.real
            settings = read_settings(self._method, real.settings)
            self._sessions[key] = _MixtureSession(self._subject.mixture, self._method, layers, aim, settings)
        return self._sessions[key]


class _MixtureSession:
    """A session of a mixture with the explanation of one kind of scalar."""

    def __init__(
        self, mixture: Mixture, method: Method, layers: Sequence[Layer], aim: Aim, settings: Mapping[str, Any]
    ) -> None:
        with building():
            prepared = mixture.open(aim)
            tensors = all_tensors(prepared.model.graph)
            own = [Layer(tensors[mixture.mixed(layer.tensor)], layer.layout) for layer in layers]
            explanation_graph(prepared, method, own, aim, settings)
        self._session = Session(prepared.model, "cpu")

    def __call__(self, feeds: Mapping[str, NDArray[Any]], shares: NDArray[np.float32]) -> tuple[NDArray[Any], float]:
        """Return the map [1, …] and the score."""
        given = {**feeds, ROUNDING: shares}
        found = self._session.run(self._session.filled(given), [MAP, SCORE])
        return found[MAP][:1], float(found[SCORE].ravel()[0])


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    value = similarity.iou(a, b)
    return None if math.isnan(value) else value
