"""The ONNX Runtime sessions of an explanation graph: for one method, one aim and its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.autodiff import STANDARD
from onnxcam.engine import Serialized, Session
from onnxcam.errors import MethodError, ModelError
from onnxcam.graph.io import building
from onnxcam.metadata.reserved import AROUND, CHOSEN, MAP, SCORE, load_bare
from onnxcam.methods import Method, ProcedureMethod, explanation_graph, head_graph
from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import why_not_finite
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import Choice, Layer, candidates
from onnxcam.structure.layout import picture_layout
from onnxcam.structure.place import Place
from onnxcam.targets import Aim

__all__ = ["Arrays", "CompiledExplanation", "PlaceBySize", "find_places"]

Arrays = dict[str, np.ndarray]
PlaceBySize: TypeAlias = "dict[tuple[int, ...] | None, Place | None]"
"""Where the layer's cells lie, by the size of the image tensor; None for a layer that covers it evenly."""


@dataclass(frozen=True)
class CompiledExplanation:
    """The sessions that explain all targets of one aim.

    Attributes:
        network: The model that is explained.
        aim: The kind of the targets.
        choices: The layers, and why they were chosen.
        session: The explanation graph.
        head: The network behind the layer, for methods that need it.
        batch: The batch size of a run, where it is fixed.
        places: Where the layer's cells lie, by the size of the image tensor.
    """

    network: ModelDescription
    aim: Aim
    choices: Sequence[Choice]
    session: Session
    head: Session | None
    batch: int | None
    places: PlaceBySize = field(default_factory=dict, repr=False)
    _scores: Callable[[], Session] | None = field(default=None, repr=False)

    @classmethod
    def build(
        cls,
        network: ModelDescription,
        prepared: PreparedModel,
        method: Method,
        aim: Aim,
        choices: Sequence[Choice],
        settings: Mapping[str, Any],
        *,
        signed: bool = False,
        features: bool = False,
        spin: bool = True,
    ) -> CompiledExplanation:
        """Build the explanation graph in *prepared*, which is edited, and its sessions."""
        layers = [choice.layer for choice in choices]
        places = find_places(network, prepared, layers or _mixed(prepared, method, aim))
        with building():
            twin = prepared.twin() if method.uses_head else None
            explanation_graph(prepared, method, layers, aim, settings, signed=signed, features=features)
            if twin is not None and layers:
                head_graph(twin, layers[0].in_graph(twin.model.graph), aim)
        open_session = partial(Session, provider=network.provider, spin=spin)
        head = open_session(twin.model) if twin is not None else None
        session = open_session(prepared.model)
        scores = None
        if isinstance(method, ProcedureMethod) and MAP in session.outputs:
            scores = cache(lambda: open_session(_without_map(prepared.model)))
        return cls(network, aim, choices, session, head, _fixed_batch(prepared, aim), places, scores)

    @classmethod
    def opened(
        cls,
        network: ModelDescription,
        prepared: PreparedModel,
        aim: Aim,
        choices: Sequence[Choice],
        graph: Serialized,
        places: PlaceBySize,
        *,
        spin: bool = True,
    ) -> CompiledExplanation:
        """Return the sessions of *graph*, an explanation graph that was built before; *prepared* stays as it is."""
        session = Session(graph, network.provider, spin=spin)
        return cls(network, aim, choices, session, None, _fixed_batch(prepared, aim), places)

    @property
    def layers(self) -> list[Layer]:
        """The layers that the method uses."""
        return [choice.layer for choice in self.choices]

    @cached_property
    def layer_name(self) -> str | None:
        """The names of the layers, joined; None for methods that use none."""
        return ", ".join(layer.name for layer in self.layers) or None

    def place(self, size: tuple[int, ...]) -> Place | None:
        """Return where the layer's cells lie in an image tensor of *size*; None where they cover it evenly."""
        if not self.places or None in self.places:
            return None
        if size not in self.places and not self.layers:
            return next(filter(None, self.places.values()), None)
        if size not in self.places:
            prepared = self.network.open()
            layers = [layer.in_graph(prepared.model.graph) for layer in self.layers]
            self.places[size] = _place(self.network, prepared, layers, size)
        return self.places[size]

    @property
    def around(self) -> list[str]:
        """The head's inputs for tensors that bypass the layer."""
        return [name for name in self.head.inputs if name.startswith(AROUND)] if self.head is not None else []

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        """Return *outputs* (default: all) for a batch of any size.

        Without the map a procedure has a session that does not keep the layer's tensor, which is faster.

        ModelError where the scores are NaN or infinite, or not one for each image.
        """
        with_map = outputs is None or MAP in outputs
        session = self.session if with_map or self._scores is None else self._scores()
        found = self._run(session, dict(feeds), outputs)
        if SCORE in found and not np.isfinite(found[SCORE]).all():
            raise ModelError(why_not_finite(load_bare(self.network.model), feeds[self.network.picture]))
        self._require_one_score_each(found, len(feeds[self.aim.input]))
        return found

    def run_head(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] = (SCORE,)) -> Arrays:
        """Return *outputs* of the head, [B, …] each."""
        if self.head is None:
            raise MethodError("this method runs the head of the network; enter it with uses_head=True")
        return self._run(self.head, {name: feeds[name] for name in self.head.inputs}, outputs)

    def _require_one_score_each(self, found: Arrays, count: int) -> None:
        scores, chosen = found.get(SCORE), found.get(CHOSEN)
        wrong = chosen if chosen is not None and chosen.shape != (count,) else scores
        if wrong is not None and (wrong is chosen or wrong.size != count):
            raise ModelError(
                f"the model gives scores {list(wrong.shape)} for {count} images, other axes than it declares; "
                "correct its declared outputs"
            )

    def _run(self, session: Session, feeds: Arrays, outputs: Sequence[str] | None) -> Arrays:
        if self.batch in (None, len(feeds[self.aim.input])):
            return session.run(feeds, outputs)
        return session.run_in_pieces(feeds, self.batch or 1, outputs)


def _without_map(model: ir.Model) -> ir.Model:
    """Return a copy of *model* that does not give what a procedure needs of the layer."""
    copy = model.clone()
    copy.graph.outputs[:] = [y for y in copy.graph.outputs if y.name != MAP]
    RemoveUnusedNodesPass()(copy)
    return copy


_SIZES = (97, 224, 320)
"""Lengths of open axes: a layer that covers tensors of all of these evenly is taken to do so always."""


def _mixed(prepared: PreparedModel, method: Method, aim: Aim) -> list[Layer]:
    """Return a layer that stands for all of those that *method* mixes without being given one, as FullGrad does."""
    if method.of_pixels or method.black_box:
        return []
    graph = prepared.model.graph
    return candidates(graph, prepared.image, aim.locate(graph), STANDARD)[:1]


def _fixed_batch(prepared: PreparedModel, aim: Aim) -> int | None:
    return prepared.batch if isinstance(prepared.batch, int) else 1 if aim.single else None


def find_places(network: ModelDescription, prepared: PreparedModel, layers: Sequence[Layer]) -> PlaceBySize:
    """Return the layer's place by the size of the tensor: of fixed sizes all; else None: None if it covers all."""
    layout = picture_layout(prepared.image)
    if layout is None or not layers:
        return {}
    lengths = layout.size(prepared.image)
    sizes = {tuple(n if isinstance(n, int) and n > 0 else other for n in lengths) for other in _SIZES}
    found: PlaceBySize = {size: _place(network, prepared, layers, size) for size in sizes}
    return found if len(sizes) == 1 or any(found.values()) else {None: None}


def _place(
    network: ModelDescription, prepared: PreparedModel, layers: Sequence[Layer], size: tuple[int, ...]
) -> Place | None:
    """Return the place of the first layer, with a warning if others lie elsewhere; None where all is covered evenly."""
    each = [network.place(prepared, layer.value, layer.layout, size) for layer in layers]
    if all(one is None for one in each):
        return None
    places = [one or Place.whole(size) for one in each]
    first = places[0]
    if len({(one.spans[0].source, *one.intervals) for one in places}) == 1:
        return first
    return replace(first, warning=first.warning or "its layers lie at several places, cropped or padded")
