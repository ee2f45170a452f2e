"""One image's raw map and outputs -> an `Explanation`, with its warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import GradientError
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.request import Array, Arrays, ExplanationRequest
from onnxcam.media import heatmap
from onnxcam.media.signal import Signal
from onnxcam.media.video import Clip
from onnxcam.metadata.reserved import CHOSEN, FEATURES, MAP, SCORE
from onnxcam.methods import Method
from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import gradient_flows
from onnxcam.structure.place import Place
from onnxcam.targets import ClassAim, Goal
from onnxcam.targets.classification import Classes
from onnxcam.targets.scores import is_no_probability

__all__ = ["Assembler"]


@dataclass(frozen=True)
class Assembler:
    """Makes explanations of the results of one method on one model.

    Attributes:
        network: The model.
        method: The method.
        pooled: The method has one weight for each channel of the whole layer.
        signed: The maps keep the evidence against the target.
        is_layer_named: The user named the layer.
        variant: What else the user chose that changes the map, such as ``samples=20``.
    """

    network: ModelDescription
    method: Method
    pooled: bool
    signed: bool
    is_layer_named: bool = False
    variant: str = ""

    def explanation(
        self,
        picture: Any,
        request: ExplanationRequest,
        compiled: CompiledExplanation,
        results: Arrays,
        *,
        name: str = "",
        joined: bool = False,
    ) -> Explanation:
        """Return the explanation of *picture*; *request* and *results* are of that image alone, [1, …].

        *name* is that of its file.
        If *joined*, *results* are those of the whole image, and *request* is one of its tiles.

        GradientError where the gradient is zero everywhere.
        """
        (goal,), modality = request.goals, self.network.modality
        self.network.warn_of_guess()
        index, label, words = self._target(goal, results)
        is_image = self.network.explained is self.network.image
        parts = None if is_image else self.network.parts(request.feeds(self.network))
        raw, flat = self._flat(results[MAP][0], parts is not None)
        outputs = {name: results[name] for name in self.network.outputs if name in results}
        probability, doubts = self._probability(goal, results, index)
        space = self._space(request)
        place = None if parts is not None else compiled.place(space)
        own = place if self.method.at_layer and compiled.layers else None
        drawn = None if joined else own  # joined maps have the size of the whole tensor
        return Explanation(
            image=modality.pixels(picture),
            affine=modality.affine(picture),
            signal=picture if isinstance(picture, Signal) else None,
            clip=picture if isinstance(picture, Clip) else None,
            seen=None if parts is not None else self._seen(picture, own, space),
            map=cast(Any, partial(self._map, flat, None if parts is not None else picture, drawn, space)),
            map_at=partial(self._map, flat, picture, drawn, space) if parts is None else None,
            raw=raw,
            target=index,
            label=label,
            words=words,
            score=float(results[SCORE][0]),
            probability=probability,
            probability_against=self._against(goal, results),
            layer=compiled.layer_name,
            is_layer_named=self.is_layer_named,
            variant=self.variant,
            method=self.method.id,
            outputs=outputs,
            detection=goal.box,
            features=results[FEATURES][0].astype(np.float32) if FEATURES in results else None,
            note=goal.note,
            name=name,
            parts=tuple(parts) if parts is not None else None,
            warnings=(
                *self._warnings(picture, request, compiled, index, flat),
                *self._misplaced(place, own),
                *doubts,
                *(self._tied(results, index) if goal.index is None else ()),
            ),
        )

    def at_image(
        self, raw: Array, picture: Any, request: ExplanationRequest, compiled: CompiledExplanation
    ) -> NDArray[np.float32]:
        """Return *raw*, a map at the layer, at the size of *picture*, with the values that it has."""
        space = self._space(request)
        return self.network.modality.enlarge(raw, picture, compiled.place(space), space)

    def _map(
        self,
        flat: Array,
        picture: Any,
        place: Place | None,
        space: tuple[int, ...],
        size: tuple[int, ...] | None = None,
    ) -> NDArray[np.float32]:
        """Return the normalised map of *picture* at its *size*, or another; of an input that is no image at its own."""
        placed = flat if picture is None else self.network.modality.enlarge(flat, picture, place, space, size)
        return heatmap.normalize(placed, signed=self.signed)

    def _seen(
        self, picture: Any, place: Place | None, space: tuple[int, ...]
    ) -> tuple[float, float, float, float] | None:
        """Return the rectangle of *picture* that the network sees; None for all of it."""
        frame = self.network.modality.view(picture)
        if frame is not None and place is not None and len(space) == 2:
            rows, columns = place.seen
            frame = frame.part(rows, columns, (space[0], space[1]))
        if frame is None:
            return None
        height, width = self.network.modality.size(picture)[-2:]
        return None if frame.covers(height, width) else (frame.x0, frame.y0, frame.x1, frame.y1)

    def _misplaced(self, place: Place | None, own: Place | None) -> list[str]:
        """Return a warning if the map may lie at another place of the image than it is drawn."""
        why = "" if place is None else place.warning
        if place is not None and own is None:
            why = why or f"{self.method.id} enlarges layers to the whole input, which it crops, pads or mirrors"
        if not why and own is not None and own.measured:
            return [
                "the place of the map was measured by runs on changed images, to about a tenth of the image: "
                f"before the layer {own.measured}"
            ]
        if not why:
            return []
        return [
            "the map may lie at another place of the image: before the layer the network does what cannot be "
            f"followed, {why}; --method gradient draws its map at the right place"
        ]

    def _space(self, request: ExplanationRequest) -> tuple[int, ...]:
        """Return the spatial size of the image's tensor."""
        layout = self.network.layout
        return () if layout is None else tuple(request.tensor.shape[axis] for axis in layout.space)

    def _target(self, goal: Goal, results: Arrays) -> tuple[int | None, str | None, str]:
        """Return the index, the label and the words of the target."""
        if CHOSEN not in results:
            return goal.index, goal.label, goal.words
        index, names = int(results[CHOSEN][0]), self.network.class_names
        label = names[index] if names else goal.label
        task = self.network.task
        return index, label, task.words(index) if isinstance(task, Classes) else str(index)

    def _flat(self, raw: Array, has_parts: bool) -> tuple[Array, Array]:
        """Return the raw map, and the map without channels."""
        layout = self.network.layout
        channel = None if self.method.at_layer else layout.channel - 1 if layout is not None else 0
        if has_parts:
            channel = 1 if raw.ndim > 1 else None
            raw = raw if raw.ndim > 1 else np.abs(raw)
        return raw, heatmap.flat(raw, channel, summed=self.signed or self.method.sums_channels)

    def _probability(self, goal: Goal, results: Arrays, index: int | None) -> tuple[float | None, list[str]]:
        """Return the probability of the target, None where its number is none; with a warning in that case."""
        if goal.is_log_probability:
            return math.exp(min(float(results[SCORE][0]), 0.0)), []
        found, names = goal.probability, self.network.probability_outputs
        if index is None and goal.sides and names is not None:
            found = self.network.group_probability(results, goal.sides[0])
        elif found is None and index is not None and names is not None:
            known = self.network.probabilities(results, np.asarray([index]))
            if known is not None:
                return float(known[0]), []
            found = self.network.highest(results)
        if found is None or not is_no_probability(found):
            return None if found is None else min(found, 1.0), []
        return None, [f"a score of {found:.4g} is above 1, so it is no probability"]

    def _tied(self, results: Arrays, index: int | None) -> list[str]:
        """Return a warning where other classes have the same highest score as the explained one."""
        task = self.network.task
        if index is None or not isinstance(task, Classes) or task.scores.output not in results:
            return []
        values = np.asarray(results[task.scores.output][0]).reshape(-1)
        if len(values) != task.scores.classes or values[index] < values.max():
            return []
        others = [task.words(int(at)) for at in np.flatnonzero(values == values[index]) if at != index]
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return [
            f"the highest score is that of {task.words(index)!r} and of {', '.join(map(repr, others[:3]))}{more}, "
            f"{values[index]:g} each, and only its map is drawn; --target (target=) names another"
        ] * bool(others)

    def _against(self, goal: Goal, results: Arrays) -> float | None:
        """Return the probability of the classes on the other side of a contrast; None without one."""
        known = len(goal.sides) > 1 and self.network.probability_outputs is not None
        return self.network.group_probability(results, goal.sides[1]) if known else None

    def _warnings(
        self, picture: Any, request: ExplanationRequest, compiled: CompiledExplanation, index: int | None, flat: Array
    ) -> tuple[str, ...]:
        warnings = [*self.network.warnings_of(picture), *request.goals[0].warnings]
        if not (np.abs(flat) if self.signed else flat).max(initial=0) > 0:
            warnings.append(self._why_blank(request, index, compiled))
        if request.goals[0].box is not None and self.pooled:
            warnings.append(
                f"{self.method.id} averages gradients over the whole layer, which may lose the place of one box or "
                "patch; layercam and hirescam keep it"
            )
        return tuple(warnings)

    def _why_blank(self, request: ExplanationRequest, index: int | None, compiled: CompiledExplanation) -> str:
        """Return a warning for a map without a positive value; GradientError where the gradient is zero."""
        (goal,), names = request.goals, self.network.class_names
        is_class = isinstance(goal.aim, ClassAim)
        label = names[index] if is_class and names and index is not None else str(index)
        name = f"class {label!r}" if is_class else f"target {goal.words!r}"
        if self.method.black_box:
            return f"the map is blank: nowhere does covering the image lower the score of {name}"
        value = self.network.picture
        where = "the attention to the image" if self.method.needs_attention else "the input"
        if compiled.layers:
            value, where = compiled.layers[0].tensor, f"layer {compiled.layers[0].name!r}"
        if self.method.class_independent:
            return f"the map is blank: nothing stands out at {where}, whatever the target; choose another layer"
        self._require_gradient(request, index, value, f"the gradient of {name} at {where}")
        another = "layer" if compiled.layers else "method"
        return (
            f"the map is blank: at {where} everything speaks against {name}; signed=True (--signed) shows what does"
            + (f", and so does the target 'not {label}'" if is_class else "")
            + f"; {self.method.caveat or f'or try another class or {another}'}"
        )

    def _require_gradient(self, request: ExplanationRequest, index: int | None, value: str, gradient: str) -> None:
        (goal,), feeds = request.goals, request.feeds(self.network)
        is_class = isinstance(goal.aim, ClassAim)
        if is_class:
            feeds[goal.aim.input] = np.asarray([index])
        if not gradient_flows(self.network.open(), goal.aim, feeds, value):
            raise GradientError(
                f"{gradient} is zero everywhere for this image: the units on the way are saturated or dead; choose "
                f"another layer (`onnxcam inspect` lists them) or another {'class' if is_class else 'target'}"
            )
