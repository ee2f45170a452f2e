"""Batches of pictures through explanation graphs: which graph, in one pass or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import MethodError, ModelError
from onnxcam.explainer.compiled import Compiled
from onnxcam.graph.io import all_tensors
from onnxcam.media import image as pictures
from onnxcam.metadata.reserved import ACTIVATION, AROUND, CHOSEN, MAP, SCORE, load_bare
from onnxcam.methods import METHODS, Method, Passes, Pictures
from onnxcam.methods.augment import augmented
from onnxcam.methods.base import NONE, SMOOTH, offering_black_boxes
from onnxcam.methods.loop import BATCH_SIZE
from onnxcam.model.blame import blaming
from onnxcam.model.description import Network
from onnxcam.model.diagnose import GradientProbe, choose_layer, why_not_finite
from onnxcam.model.prepared import Subject
from onnxcam.preprocess import stack
from onnxcam.progress import Progress
from onnxcam.structure.layer import Choice
from onnxcam.targets import Aim, Goal

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Asked:
    """A batch of pictures, what is asked about each, and the model's other inputs."""

    tensor: Array  # [N, …]
    goals: Sequence[Goal]
    extra: Arrays = field(default_factory=dict)  # [1, …] or [N, …] each

    def __len__(self) -> int:
        return len(self.tensor)

    def of(self, rows: Sequence[int]) -> Asked:
        """Return some rows of the batch; all of them without a copy."""
        chosen, whole = list(rows), len(self)
        if chosen == list(range(whole)):
            return self
        return Asked(self.tensor[chosen], [self.goals[row] for row in chosen], of_rows(self.extra, chosen, whole))

    def feeds(self, network: Network) -> dict[str, Array]:
        """Return every input of the explanation graph; the goals are of one aim."""
        inputs = {name: np.stack([goal.inputs[name] for goal in self.goals]) for name in self.goals[0].inputs}
        own = network.feeds(self.tensor, {**self.extra, **inputs})
        return {**own, self.goals[0].aim.input: np.stack([goal.feed for goal in self.goals])}


def of_rows(arrays: Arrays, rows: Sequence[int], count: int) -> dict[str, Array]:
    """Return *rows* of other inputs that have one for each of *count* pictures; those for all stay as they are."""
    chosen = list(rows)
    return {name: array[chosen] if array.shape[:1] == (count,) else array for name, array in arrays.items()}


@dataclass
class Runner:
    """One method on one network: explanation graphs are built as targets ask for them, and kept."""

    network: Network
    method: Method
    settings: Mapping[str, Any]
    layer: str | Sequence[str] | None
    signed: bool
    progress: Progress
    spin: bool = True  # whether the sessions' idle threads wait awake
    choice: Choice | None = field(default=None, init=False)  # the layer that was chosen last

    def __post_init__(self) -> None:
        self._compiled: dict[tuple[Aim, tuple[str, ...]], Compiled] = {}
        self._probes: dict[Aim, GradientProbe] = {}
        self._pictures: dict[str, Array] = {}

    @property
    def pooled(self) -> bool:
        """Whether the method, or the one that it builds on, has one weight for a channel of the whole layer."""
        return METHODS[self.settings.get("base", self.method.id)].pooled

    def run(self, asked: Asked) -> list[tuple[Compiled, Arrays]]:
        """Return for each row what explained it, and its outputs, the raw map among them."""
        found: dict[int, tuple[Compiled, Arrays]] = {}
        for compiled, rows in self._groups(asked):
            batch = asked.of(rows)
            whole = self.one_pass(compiled, batch.feeds(self.network))
            if "aug" in self.settings.get(SMOOTH, NONE):
                whole = {**whole, MAP: self._augmented(compiled, batch, whole)}
            for place, row in enumerate(rows):
                here = whole if len(rows) == 1 else {name: value[place : place + 1] for name, value in whole.items()}
                if not self.method.in_graph:
                    here = {**here, MAP: self._many_passes(compiled, batch.of([place]), here)[None]}
                found[row] = compiled, {**here, MAP: here[MAP].astype(np.float32, copy=False)}
        return [found[row] for row in range(len(asked))]

    def outputs(self, asked: Asked, names: Sequence[str]) -> dict[str, Array]:
        """Return some outputs of the explanation graphs, [N, …] each."""
        parts: dict[int, Arrays] = {}
        for compiled, rows in self._groups(asked):
            whole = self.one_pass(compiled, asked.of(rows).feeds(self.network), names)
            for place, row in enumerate(rows):
                parts[row] = {name: value[place : place + 1] for name, value in whole.items()}
        return {name: np.concatenate([parts[row][name] for row in range(len(asked))]) for name in names}

    def one_pass(self, compiled: Compiled, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run a graph; ModelError where scores are no numbers."""
        found = compiled.run(feeds, outputs)
        if SCORE in found and not np.isfinite(found[SCORE]).all():
            raise ModelError(why_not_finite(load_bare(self.network.model), feeds[self.network.picture]))
        count = len(feeds[compiled.aim.input])
        scores, chosen = found.get(SCORE), found.get(CHOSEN)
        wrong = chosen if chosen is not None and chosen.shape != (count,) else scores
        if wrong is not None and (wrong is chosen or wrong.size != count):
            raise ModelError(
                f"the model gives scores {list(wrong.shape)} for {count} pictures, other axes than it declares; "
                "correct its declared outputs"
            )
        return found

    def compile(
        self, subject: Subject, aim: Aim, choices: Sequence[Choice] | None = None, feeds: Arrays | None = None
    ) -> Compiled:
        """Build the explanation graph of *aim* from *subject*, which is used up."""
        provider = self.network.provider
        with offering_black_boxes(), blaming(self.network.model):
            choices = self._choose(subject, aim, feeds) if choices is None else choices
            made = Compiled.of(
                subject, self.method, aim, choices, self.settings, provider, signed=self.signed, spin=self.spin
            )
        self._compiled[aim, tuple(layer.tensor for layer in made.layers)] = made
        self.choice = choices[0] if choices else None
        return made

    def _groups(self, asked: Asked) -> list[tuple[Compiled, list[int]]]:
        """Return the rows that one run can explain together, and by which graph."""
        groups: dict[Any, tuple[Compiled, list[int]]] = {}
        for row, goal in enumerate(asked.goals):
            compiled = self._for(asked, row)
            groups.setdefault((id(compiled), np.shape(goal.feed)), (compiled, []))[1].append(row)
        return list(groups.values())

    def _for(self, asked: Asked, row: int) -> Compiled:
        """Return the explanation graph for one row; its layer may depend on where the goal's evidence lies."""
        goal = asked.goals[row]
        if goal.region is None or not self.method.uses_layer or self.layer not in (None, "auto"):
            known = next((one for (aim, _), one in self._compiled.items() if aim == goal.aim), None)
            if known is not None:
                return known
            return self.compile(self.network.open(), goal.aim, feeds=asked.of([row]).feeds(self.network))
        if goal.aim not in self._probes:
            self._probes[goal.aim] = GradientProbe(self.network.open(), goal.aim)
        choice = self._probes[goal.aim].choose(asked.of([row]).feeds(self.network), goal.region)
        known = self._compiled.get((goal.aim, (choice.layer.tensor,)))
        if known is not None:
            return known
        subject = self.network.open()
        layer = choice.layer.in_graph(subject.model.graph)
        return self.compile(subject, goal.aim, [replace(choice, layer=layer)])

    def _choose(self, subject: Subject, aim: Aim, feeds: Arrays | None) -> list[Choice]:
        """Return the layers that the method looks at."""
        if not self.method.uses_layer:
            return []
        names = [self.layer] if self.layer is None or self.layer in all_tensors(subject.model.graph) else self.layer
        names = names.split(",") if isinstance(names, str) else names
        return [choose_layer(subject, aim, name, feeds) for name in names]

    def _augmented(self, compiled: Compiled, asked: Asked, whole: Arrays) -> Array:
        """Return the maps of all augmentations of a batch together, for the targets of *whole*, which one pass gave."""
        feeds, aim = asked.feeds(self.network), compiled.aim.input
        feeds[aim] = whole.get(CHOSEN, feeds[aim])
        ask = partial(self.one_pass, compiled, outputs=[MAP])
        return augmented(asked.tensor, self.network.layout, lambda x: ask({**feeds, self.network.picture: x})[MAP])

    def _many_passes(self, compiled: Compiled, asked: Asked, here: Arrays) -> NDArray[np.float32]:
        """Return the raw map of one row, for which one pass gave *here*."""
        picture, settings = asked.tensor[0], self._settings_for(asked.tensor[0])
        (goal,), classes = asked.goals, here.get(CHOSEN)
        feed = goal.feed[None] if classes is None else classes

        def feeds(batch: Array) -> dict[str, Array]:
            many = Asked(batch, [goal] * len(batch), asked.extra).feeds(self.network)
            return {**many, goal.aim.input: np.repeat(feed, len(batch), axis=0)}

        def ask(batch: Array, outputs: Sequence[str]) -> Arrays:
            return self.one_pass(compiled, feeds(batch), outputs)

        def ask_head(activations: Array) -> Array:
            count = len(activations)
            batch = np.broadcast_to(picture, (count, *picture.shape))
            around = {name: np.repeat(here[name.removeprefix(AROUND)], count, axis=0) for name in compiled.around}
            return compiled.run_head({**feeds(batch), **around, ACTIVATION: activations})

        def ask_probability(batch: Array) -> Array:
            names = self.network.probability_outputs if classes is not None else None
            if names is None or classes is None:
                return ask(batch, [SCORE])[SCORE]
            found = self.network.probabilities(ask(batch, names), np.repeat(classes, len(batch)))
            if found is None:
                raise MethodError(
                    f"{self.method.id} needs probabilities, but the model's scores are integers of unknown meaning; "
                    "use --method occlusion"
                )
            return found

        passes = Passes(
            picture,
            here,
            self.network.layout,
            compiled.layers[0].layout if compiled.layers else None,
            ask,
            ask_head,
            ask_probability,
            settings.pop(BATCH_SIZE),
            self.progress,
        )
        assert self.method.run is not None
        return self.method.run(passes, **settings).astype(np.float32)

    def _settings_for(self, picture: Array) -> dict[str, Any]:
        """Return the settings, pictures among them as tensors [B, …] like *picture*."""
        given = self.settings.items()
        return {name: self._tensors(name, x, picture) if isinstance(x, Pictures) else x for name, x in given}

    def _tensors(self, name: str, given: Pictures, like: Array) -> Array:
        """Return the pictures of the setting *name* as tensors; files are read once."""
        if name not in self._pictures:
            source, medium = given.source, self.network.medium
            tensors = source if isinstance(source, np.ndarray) else [*map(medium.tensor, pictures.each(source))]
            self._pictures[name] = tensors if isinstance(tensors, np.ndarray) else stack(tensors or [like[None][:0]])
        found = self._pictures[name]
        if found.shape[1:] != like.shape:
            raise MethodError(
                f"{name} of {self.method.id} became tensors {found.shape[1:]}, but the picture one of {like.shape}; "
                "give pictures of its size, or add crop=HxW to the preprocessing"
            )
        return found.astype(like.dtype)
