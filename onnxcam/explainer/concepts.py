"""All concepts of an image, or of several images, in one factorisation of a layer's activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from onnxcam.errors import MethodError
from onnxcam.explainer.assembler import Assembler
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.concept_maps import Concept, ConceptMaps
from onnxcam.explainer.queries import GraphQueries
from onnxcam.explainer.request import Array, Arrays, ExplanationRequest, PreprocessedImage
from onnxcam.explainer.runner import Runner
from onnxcam.metadata.reserved import MAP
from onnxcam.methods import METHODS, read_settings
from onnxcam.methods.base import BATCH_SIZE
from onnxcam.methods.concepts import Factors, factorised
from onnxcam.targets import Goal

__all__ = ["ConceptFinder", "read_concepts"]


@dataclass(frozen=True)
class _FactorisedImage:
    """One image: its request, the sessions and outputs of one pass, and what may be asked about it."""

    image: PreprocessedImage
    request: ExplanationRequest
    compiled: CompiledExplanation
    outputs: Arrays
    queries: GraphQueries


@dataclass(frozen=True)
class ConceptFinder:
    """Finds concepts by one method, `dff`.

    Attributes:
        runner: The method on the model.
        assembler: Makes explanations of its results.
    """

    runner: Runner
    assembler: Assembler

    def find(self, images: Sequence[tuple[PreprocessedImage, Goal]], extra: Arrays, number: int) -> list[ConceptMaps]:
        """Return the *number* concepts that *images* share, one result for each; their goals choose the layer.

        MethodError where the layer has too few positions or channels, or the images have different layers.
        """
        seen = [self._see(image, goal, extra) for image, goal in images]
        activations = [one.queries.activation.astype(np.float64) for one in seen]
        self._require_one_layer(seen, activations)
        flat = [a.reshape(len(a), -1).T for a in activations]  # [P, K] each
        found = factorised(np.concatenate(flat), number)
        found = found.ordered(np.argsort(-found.amounts.sum(0), kind="stable"))
        ends = np.cumsum([len(one) for one in flat])
        parts = [found.at(slice(end - len(one), end)) for one, end in zip(flat, ends, strict=True)]
        concepts = self._named(seen, parts, found)
        return [
            self._maps(one, part.maps / found.strongest, concepts, _shares(part), len(seen))
            for one, part in zip(seen, parts, strict=True)
        ]

    def _see(self, image: PreprocessedImage, goal: Goal, extra: Arrays) -> _FactorisedImage:
        request = ExplanationRequest(image.tensor, [goal], extra)
        compiled = self.runner.compiled(request)
        outputs = compiled.run(request.feeds(self.runner.network))
        queries = self.runner.queries(compiled, request, outputs, self.runner.settings[BATCH_SIZE])
        return _FactorisedImage(image, request, compiled, outputs, queries)

    def _require_one_layer(self, seen: Sequence[_FactorisedImage], activations: Sequence[Array]) -> None:
        names = list(dict.fromkeys(one.compiled.layer_name for one in seen))
        if len(names) > 1 or len({len(a) for a in activations}) > 1:
            raise MethodError(
                f"images that share concepts need one layer, and these have {', '.join(map(repr, names))}; name one "
                "(--layer), or leave out the setting together"
            )

    def _named(self, seen: Sequence[_FactorisedImage], parts: Sequence[Factors], found: Factors) -> list[Concept]:
        """Return the concepts, each named by the image that has most of it."""
        amounts = np.array([part.amounts.sum(0) for part in parts])  # [images, concepts]
        best, count = amounts.argmax(0), len(found.vectors)
        named: dict[int, tuple[int, float | None]] = {}
        for image in dict.fromkeys(best.tolist()):
            own = [k for k in range(count) if best[k] == image]
            shape = seen[image].queries.activation.shape
            alone = (_alone(parts[image], k).T.reshape(shape) for k in own)
            classes = seen[image].queries.classes_behind(alone, len(own))
            if classes is not None:
                chances = [None] * len(own) if classes[1] is None else classes[1].tolist()
                named |= dict(zip(own, zip(classes[0].tolist(), chances, strict=True), strict=True))
        names = self.runner.network.class_names
        concepts = []
        for k, share in enumerate(_shares(found)):
            index, chance = named.get(k, (None, None))
            label = names[index] if names and index is not None else None
            concepts.append(Concept(k + 1, share, index, label, chance))
        return concepts

    def _maps(
        self, one: _FactorisedImage, maps: Array, concepts: Sequence[Concept], shares: Sequence[float], images: int
    ) -> ConceptMaps:
        space = one.queries.activation.shape[1:]
        raw = np.ascontiguousarray(maps.T.reshape(-1, *space), np.float32)
        whole = {**one.outputs, MAP: raw.max(0)[None]}
        explanation = self.assembler.explanation(
            one.image.content, one.request, one.compiled, whole, name=one.image.name
        )
        if concepts[0].index is None:
            said = f"the concepts have no class: the model is {self.runner.network.task.name}, no classifier"
            explanation = replace(explanation, warnings=(*explanation.warnings, said))
        enlarge = partial(self._enlarged, one)
        return ConceptMaps(raw, tuple(concepts), tuple(shares), images, explanation, enlarge)

    def _enlarged(self, one: _FactorisedImage, raw: Any) -> Array:
        return self.assembler.at_image(raw, one.image.content, one.request, one.compiled)


def read_concepts(number: int) -> int:
    """Return *number* as the setting *concepts* of `dff`; MethodError for one that it cannot be."""
    return int(read_settings(METHODS["dff"], {"concepts": number})["concepts"])


def _alone(found: Factors, k: int) -> Array:
    """Return m + s W_k H_k, [P, K]: concept *k* at its places, with as much activation as all concepts had, by s."""
    total, own = found.amounts.sum(), found.amounts[:, k].sum()
    return np.asarray(found.least + np.outer(found.maps[:, k], found.vectors[k]) * (total / own if own else 0))


def _shares(found: Factors) -> list[float]:
    """Return the share of each concept in the sum of the activation that all explain; zeros for no activation."""
    amounts = found.amounts.sum(0)
    return [float(share) for share in amounts / (amounts.sum() or 1)]
