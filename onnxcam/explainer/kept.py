"""Explanation graphs that the cache keeps, with the layers that were chosen for them.

They are those that an explainer builds before it sees an image: a class, and a method of one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.engine import Serialized
from onnxcam.explainer.compiled import CompiledExplanation, PlaceBySize
from onnxcam.graph.cache import GraphCache
from onnxcam.graph.io import all_tensors
from onnxcam.graph.weights import weights_folder
from onnxcam.methods import GraphMethod, Method
from onnxcam.model.description import ModelDescription
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import Choice, Layer
from onnxcam.structure.layout import BlockedLayout, GridLayout, Layout, TokenLayout
from onnxcam.targets import Aim, ClassAim

__all__ = ["KeptExplanation"]

_LAYOUTS = {kind.__name__: kind for kind in (GridLayout, BlockedLayout, TokenLayout)}
_Facts = dict[str, Any]


@dataclass(frozen=True)
class KeptExplanation:
    """The place of one explanation graph in the cache."""

    cache: GraphCache
    question: tuple[Any, ...]

    @classmethod
    def of(
        cls,
        network: ModelDescription,
        method: Method,
        aim: Aim,
        layer: str | Sequence[str] | None,
        settings: Mapping[str, Any],
        signed: bool,
        features: bool,
    ) -> KeptExplanation | None:
        """Return the place of a graph; None where there is no cache, or what decides the graph has no name.

        That is a rule or method that is not onnxcam's, a setting that is no number or text, and a model some of whose
        shapes were measured.
        """
        rules, function = STANDARD.fingerprint, method.function
        named = all(isinstance(value, bool | int | float | str) for value in settings.values())
        plain = network.preprocess is None or isinstance(network.preprocess, str)
        own = function.__module__.startswith("onnxcam.") and rules is not None and not network.measured
        if network.cache is None or not (own and named and plain) or network.given:
            return None
        if not isinstance(method, GraphMethod) or not isinstance(aim, ClassAim):
            return None
        about = (network.wrt, network.size, network.preprocess, repr(aim), layer, dict(settings), signed, features)
        return cls(network.cache, ("explanation", method.id, function.__qualname__, rules, *about))

    def restore(
        self, network: ModelDescription, prepared: PreparedModel, aim: Aim, *, spin: bool
    ) -> CompiledExplanation | None:
        """Return the sessions of the kept graph, its layers those of *prepared*; None if there is no such graph."""
        found = self.cache.find(*self.question)
        if found is None:
            return None
        graph = Serialized(found.data, weights_folder(prepared.model))
        tensors = all_tensors(prepared.model.graph)
        choices = [_choice(facts, tensors) for facts in found.facts["choices"]]
        even: PlaceBySize = {None if size is None else tuple(size): None for size in found.facts["even"]}
        return CompiledExplanation.opened(network, prepared, aim, choices, graph, even, spin=spin)

    def keep(self, made: CompiledExplanation, model: ir.Model) -> None:
        """Write the explanation graph *model* of *made*, unless its layers do not cover the image evenly."""
        if not any(made.places.values()):
            facts = {"choices": [_facts(choice) for choice in made.choices], "even": list(made.places)}
            self.cache.keep(model, facts, *self.question)


def _facts(choice: Choice) -> _Facts:
    """Return *choice* as values of JSON."""
    others = [_layer_facts(layer) for layer in choice.others]
    return {**_layer_facts(choice.layer), "reason": choice.reason, "source": choice.source, "others": others}


def _layer_facts(layer: Layer) -> _Facts:
    origin = None if layer.origin is None else layer.origin.name
    layout = [type(layer.layout).__name__, asdict(layer.layout)]
    return {"tensor": layer.tensor, "layout": layout, "origin": origin}


def _choice(facts: _Facts, tensors: Mapping[str, ir.Value]) -> Choice:
    others = tuple(_layer(each, tensors) for each in facts["others"])
    return Choice(_layer(facts, tensors), facts["reason"], others, facts["source"])


def _layer(facts: _Facts, tensors: Mapping[str, ir.Value]) -> Layer:
    name, fields = facts["layout"]
    kind: Callable[..., Layout] = _LAYOUTS[name]
    layout = kind(**{key: tuple(x) if isinstance(x, list) else x for key, x in fields.items()})
    return Layer(tensors[facts["tensor"]], layout, None if facts["origin"] is None else tensors[facts["origin"]])
