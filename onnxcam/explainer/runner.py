"""Runs requests: builds the explanation graphs, and runs them once or, for procedures, many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import MethodError
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.kept import KeptExplanation
from onnxcam.explainer.queries import GraphQueries
from onnxcam.explainer.request import Array, Arrays, ExplanationRequest
from onnxcam.explainer.several import explain_classes, sessions_of_classes
from onnxcam.explainer.shared import SharedExplanation
from onnxcam.graph.io import all_tensors
from onnxcam.media import image as pictures
from onnxcam.metadata.prompting import Prompting
from onnxcam.metadata.reserved import CHOSEN, MAP
from onnxcam.methods import METHODS, ImageSet, Method, ProcedureMethod
from onnxcam.methods.augment import augmented
from onnxcam.methods.base import BATCH_SIZE, NONE, SMOOTH, offering_black_boxes
from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import GradientProbe, choose_layer
from onnxcam.model.invalid import explaining_invalid_models
from onnxcam.model.levels import HeadLevels
from onnxcam.model.prepared import PreparedModel
from onnxcam.preprocess import stack
from onnxcam.progress import Progress
from onnxcam.structure.layer import Choice
from onnxcam.structure.place import Place
from onnxcam.targets import Aim
from onnxcam.targets.aim import ClassAim, WeightsAim
from onnxcam.targets.goal import Goal, Look

__all__ = ["Runner"]


@dataclass
class Runner:
    """One method on one model. It builds explanation graphs when targets need them, and keeps them.

    Attributes:
        network: The model.
        method: The method.
        settings: The method's settings, all of them.
        layer: The name of the layer, or of several; None chooses.
        signed: The maps keep the evidence against the target.
        progress: Wraps the samples of procedures and their number.
        spin: Let the sessions' idle threads spin.
        features: Also return the means of the layer's channels.
        choice: The layer that was chosen last.
        last: The sessions that were built last.
    """

    network: ModelDescription
    method: Method
    settings: Mapping[str, Any]
    layer: str | Sequence[str] | None
    signed: bool
    progress: Progress
    spin: bool = True
    features: bool = False
    choice: Choice | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._compiled: dict[tuple[Aim, tuple[str, ...]], CompiledExplanation] = {}
        self._probes: dict[Aim, GradientProbe] = {}
        self._levels = HeadLevels(self.network)
        self._shared: dict[tuple[Aim, str, int], SharedExplanation | None] = {}
        self._several: dict[Aim, CompiledExplanation | None] = {}
        self._pictures: dict[str, Array] = {}
        self.last: CompiledExplanation | None = None

    @property
    def pooled(self) -> bool:
        """Whether the method, or its base method, has one weight for each channel of the whole layer."""
        return METHODS[self.settings.get("base", self.method.id)].pooled

    def run(self, request: ExplanationRequest) -> list[tuple[CompiledExplanation, Arrays]]:
        """Return for each image its sessions and its outputs, [1, …] each; output `MAP` is the raw map, float32."""
        found: dict[int, tuple[CompiledExplanation, Arrays]] = {}
        for compiled, rows in self._groups(request):
            batch = request.of(rows)
            whole = compiled.run(batch.feeds(self.network))
            if "aug" in self.settings.get(SMOOTH, NONE):
                whole = {**whole, MAP: self._augmented(compiled, batch, whole)}
            for place, row in enumerate(rows):
                here = whole if len(rows) == 1 else {name: value[place : place + 1] for name, value in whole.items()}
                if isinstance(self.method, ProcedureMethod):
                    here = {**here, MAP: self._run_procedure(self.method, compiled, batch.of([place]), here)[None]}
                else:
                    self._require_rank(here[MAP][0], request.tensor.ndim - 1)
                found[row] = compiled, {**here, MAP: here[MAP].astype(np.float32, copy=False)}
        return [found[row] for row in range(len(request))]

    def maps(self, look: Look, goals: Sequence[Goal]) -> list[tuple[CompiledExplanation, Arrays]] | None:
        """Return what `run` returns, for several *goals* in one image whose forward pass is known to *look*.

        None where they cannot share a pass.
        """
        found: dict[int, tuple[CompiledExplanation, Arrays]] = {}
        groups: dict[int, tuple[SharedExplanation, list[int]]] = {}
        for row, goal in enumerate(goals):
            shared = self._shared_for(look, goal)
            if shared is None:
                return None
            groups.setdefault(id(shared), (shared, []))[1].append(row)
        for shared, rows in groups.values():
            tensors = dict(zip(shared.kept, look.tensors(shared.kept), strict=True))
            maps = shared.maps(tensors, [goals[row].feed for row in rows])[MAP]
            found |= {row: (shared.compiled, {MAP: maps[n : n + 1]}) for n, row in enumerate(rows)}
        return [found[row] for row in range(len(goals))]

    def classes(
        self, request: ExplanationRequest, goals: Sequence[Goal]
    ) -> list[tuple[CompiledExplanation, Arrays]] | None:
        """Return what `run` returns, for several *goals* in the one image of *request*, whose own goal is the first.

        None where they are not classes that can share a pass.
        """
        aim = goals[0].aim
        if any(not isinstance(goal.aim, ClassAim) or goal.aim != aim or goal.inputs for goal in goals):
            return None
        if aim not in self._several:
            own = {"signed": self.signed, "features": self.features, "spin": self.spin}
            self._several[aim] = sessions_of_classes(self._for(request, 0), self.method, self.settings, **own)
        several = self._several[aim]
        if several is None:
            return None
        found = explain_classes(several, request.feeds(self.network), [int(goal.feed) for goal in goals])
        return [(several, one) for one in found]

    @property
    def kept(self) -> list[str]:
        """The tensors of the forward pass that `maps` has read so far."""
        return list(dict.fromkeys(name for one in self._shared.values() if one is not None for name in one.kept))

    def _shared_for(self, look: Look, goal: Goal) -> SharedExplanation | None:
        """Return the reverse pass for a detection; None for other goals, and where targets share none."""
        aim = goal.aim
        if not (isinstance(aim, WeightsAim) and self._by_level(goal)) or goal.inputs:
            return None
        choice = self._levels.choice(self._levels.level(aim, goal.feed, look))
        places = self._levels.places_of(aim, goal.feed)
        key = aim, choice.layer.tensor, len(places)
        if key not in self._shared:
            self.choice = choice
            self._shared[key] = SharedExplanation.build(
                self.network, self.method, aim, choice, self.settings, places=places, spin=self.spin
            )
        return self._shared[key]

    def _by_level(self, goal: Goal) -> bool:
        """Return whether the level of a detection decides the layer."""
        chosen = goal.region is not None and self.method.uses_layer and self.layer in (None, "auto")
        return chosen and not self.signed and self._levels.has(goal.aim)

    def outputs(self, request: ExplanationRequest, names: Sequence[str]) -> dict[str, Array]:
        """Return the outputs *names* of the explanation graphs, [N, …] each."""
        parts: dict[int, Arrays] = {}
        for compiled, rows in self._groups(request):
            whole = compiled.run(request.of(rows).feeds(self.network), names)
            for place, row in enumerate(rows):
                parts[row] = {name: value[place : place + 1] for name, value in whole.items()}
        return {name: np.concatenate([parts[row][name] for row in range(len(request))]) for name in names}

    def compile(
        self, prepared: PreparedModel, aim: Aim, choices: Sequence[Choice] | None = None, feeds: Arrays | None = None
    ) -> CompiledExplanation:
        """Build the sessions of *aim* from *prepared*, which is edited.

        *choices* are the layers; None chooses them, with *feeds* of an image where they are known.
        """
        with offering_black_boxes(), explaining_invalid_models(self.network.model):
            made = self._build(prepared, aim, choices, feeds)
        self._compiled[aim, tuple(layer.tensor for layer in made.layers)] = made
        self.choice, self.last = made.choices[0] if made.choices else None, made
        return made

    def _build(
        self, prepared: PreparedModel, aim: Aim, choices: Sequence[Choice] | None, feeds: Arrays | None
    ) -> CompiledExplanation:
        """Return the sessions of *aim*, from the cache where it has them and no image decides them."""
        kept = None
        if choices is None and feeds is None:
            kept = KeptExplanation.of(
                self.network, self.method, aim, self.layer, self.settings, self.signed, self.features
            )
        found = None if kept is None else kept.restore(self.network, prepared, aim, spin=self.spin)
        self.network.warn_of_cache()
        if found is not None:
            return found
        choices = self._choose(prepared, aim, feeds) if choices is None else choices
        made = CompiledExplanation.build(
            self.network,
            prepared,
            self.method,
            aim,
            choices,
            self.settings,
            signed=self.signed,
            features=self.features,
            spin=self.spin,
        )
        if kept is not None:
            kept.keep(made, prepared.model)
        return made

    def compiled(self, request: ExplanationRequest) -> CompiledExplanation:
        """Return the sessions for the first row of *request*, built if they are needed for the first time."""
        return self._for(request, 0)

    def place(self, size: tuple[int, ...]) -> Place | None:
        """Return where the cells of maps lie in an image tensor of *size*; None where they cover it evenly."""
        last = self.last
        return last.place(size) if last is not None and last.layers and self.method.at_layer else None

    def _groups(self, request: ExplanationRequest) -> list[tuple[CompiledExplanation, list[int]]]:
        """Return the sessions, and the rows that one run of each explains."""
        groups: dict[Any, tuple[CompiledExplanation, list[int]]] = {}
        for row, goal in enumerate(request.goals):
            compiled = self._for(request, row)
            shapes = np.shape(goal.feed), *(np.shape(x) for x in goal.inputs.values())
            groups.setdefault((id(compiled), shapes), (compiled, []))[1].append(row)
        return list(groups.values())

    def _for(self, request: ExplanationRequest, row: int) -> CompiledExplanation:
        """Return the sessions for one row; the choice of the layer may depend on the goal's region of the image."""
        goal = request.goals[row]
        if goal.region is None or not self.method.uses_layer or self.layer not in (None, "auto"):
            known = next((one for (aim, _), one in self._compiled.items() if aim == goal.aim), None)
            if known is not None:
                return known
            return self.compile(self.network.open(), goal.aim, feeds=request.of([row]).feeds(self.network))
        choice = self._by_place(request.of([row]), goal.region)
        known = self._compiled.get((goal.aim, (choice.layer.tensor,)))
        if known is not None:
            return known
        prepared = self.network.open()
        layer = choice.layer.in_graph(prepared.model.graph)
        return self.compile(prepared, goal.aim, [replace(choice, layer=layer)])

    def _by_place(self, one: ExplanationRequest, region: NDArray[np.bool_]) -> Choice:
        """Return the layer for the place of a detection: that of its level; for a coordinate of its box, its own."""
        (goal,), feeds = one.goals, one.feeds(self.network)
        if isinstance(goal.aim, WeightsAim) and self._levels.has(goal.aim):
            extra = {name: array for name, array in feeds.items() if name != goal.aim.input}
            look = self.network.look(one.tensor, None, extra)
            return self._levels.choice(self._levels.level(goal.aim, goal.feed, look))
        if goal.aim not in self._probes:
            self._probes[goal.aim] = GradientProbe(self.network.open(), goal.aim)
        return self._probes[goal.aim].choose(feeds, region)

    def _choose(self, prepared: PreparedModel, aim: Aim, feeds: Arrays | None) -> list[Choice]:
        """Return the layers that the method uses."""
        self._check_words()
        if not self.method.uses_layer:
            return []
        return [choose_layer(prepared, aim, name, feeds) for name in self._layer_names(prepared)]

    def _check_words(self) -> None:
        """Raise MethodError for methods whose map would have no place in what a joined decoder sees of the image."""
        asked, own = Prompting.of(self.network.names.metadata), self.method
        of_cells = own.uses_layer or (own.in_graph and not own.of_pixels)
        if asked is not None and asked.has_tiles and of_cells:
            raise MethodError(
                f"{self.method.id} has no place in an image that the encoder sees in tiles; use --method attnlrp, or "
                "leave out --tiles (tiles=)"
            )
        if asked is not None and asked.is_crossed and self.method.needs_words:
            raise MethodError(
                f"{self.method.id} reads attention to the image's tokens among the words, and this decoder reads the "
                "image by cross-attention; use --method attnlrp"
            )

    def _layer_names(self, prepared: PreparedModel) -> Sequence[str | None]:
        """Return the names in `layer`; a tensor's name may hold commas."""
        if self.layer is None:
            return [None]
        if not isinstance(self.layer, str):
            return self.layer
        return [self.layer] if self.layer in all_tensors(prepared.model.graph) else self.layer.split(",")

    def _augmented(self, compiled: CompiledExplanation, request: ExplanationRequest, whole: Arrays) -> Array:
        """Return the mean maps over augmentations of a batch; *whole* is the output of one pass, with its targets."""
        feeds, aim = request.feeds(self.network), compiled.aim.input
        feeds[aim] = whole.get(CHOSEN, feeds[aim])

        def maps(x: Array) -> Array:
            return compiled.run({**feeds, self.network.picture: x}, [MAP])[MAP]

        return augmented(request.tensor, self.network.layout, maps)

    def _run_procedure(
        self, method: ProcedureMethod, compiled: CompiledExplanation, request: ExplanationRequest, outputs: Arrays
    ) -> NDArray[np.float32]:
        """Return the raw map of a *request* of one row, for which one pass gave *outputs*."""
        settings = self._settings_for(request.tensor[0])
        queries = self.queries(compiled, request, outputs, settings.pop(BATCH_SIZE))
        raw = np.asarray(method.run(queries, **settings))
        self._require_shape(method, raw, request.tensor.shape[1:])
        return raw.astype(np.float32)

    def queries(
        self, compiled: CompiledExplanation, request: ExplanationRequest, outputs: Arrays, batch_size: int
    ) -> GraphQueries:
        """Return what a procedure asks about a *request* of one row, for which one pass gave *outputs*."""
        return GraphQueries(
            picture=request.tensor[0],
            outputs=outputs,
            layout=self.network.layout,
            layer_layout=compiled.layers[0].layout if compiled.layers else None,
            batch_size=batch_size,
            progress=self.progress,
            method=self.method.id,
            network=self.network,
            compiled=compiled,
            request=request,
        )

    def _require_rank(self, raw: Array, picture: int) -> None:
        """Raise MethodError unless the map *raw* of a graph has the axes of space, or those of the *picture*."""
        layout = self.network.layout
        if layout is None or self.network.explained is not self.network.image:
            return
        wanted = len(layout.space) if self.method.at_layer else picture
        if raw.ndim != wanted:
            words = "[N, *space]" if self.method.at_layer else "the shape of the input"
            shape = f"[N, {', '.join(map(str, raw.shape))}]"
            raise MethodError(
                f"the map of {self.method.id} has the shape {shape}; it must have {wanted + 1} axes: {words}"
            )

    def _require_shape(self, method: ProcedureMethod, raw: Array, picture: tuple[int, ...]) -> None:
        """Raise MethodError unless the map *raw* is [*space], or has the shape of the *picture* if not at a layer."""
        axes = len(self.network.layout.space) if self.network.layout is not None else raw.ndim
        if raw.ndim != axes if method.at_layer else raw.shape != picture:
            wanted = f"{axes} axes of space" if method.at_layer else f"the shape of the input, {list(picture)}"
            raise MethodError(f"the map of {method.id} has the shape {list(raw.shape)}; it must have {wanted}")

    def _settings_for(self, picture: Array) -> dict[str, Any]:
        """Return the settings, with sets of images as tensors [B, …] of the shape of *picture*."""
        given = self.settings.items()
        return {name: self._tensors(name, x, picture) if isinstance(x, ImageSet) else x for name, x in given}

    def _tensors(self, name: str, given: ImageSet, like: Array) -> Array:
        """Return the images of the setting *name* as tensors; files are read once."""
        if name not in self._pictures:
            source, modality = given.source, self.network.modality
            tensors = source if isinstance(source, np.ndarray) else [*map(modality.tensor, pictures.each(source))]
            self._pictures[name] = tensors if isinstance(tensors, np.ndarray) else stack(tensors or [like[None][:0]])
        found = self._pictures[name]
        if found.shape[1:] != like.shape:
            raise MethodError(
                f"{name} of {self.method.id} became tensors {found.shape[1:]}, but the image one of {like.shape}; "
                "give images of its size, or add crop=HxW to the preprocessing"
            )
        return found.astype(like.dtype)
