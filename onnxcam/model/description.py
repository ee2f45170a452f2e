"""What is known of a model before anything is explained: its inputs, tasks, labels and preprocessing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam import preprocess as preprocessing
from onnxcam.engine import Session, time_limit
from onnxcam.errors import (
    GuessWarning,
    ImageError,
    MethodError,
    ModelError,
    OnnxcamError,
    PreprocessError,
    warn_caller,
)
from onnxcam.graph.cache import GraphCache
from onnxcam.graph.io import ModelLike, all_tensors, building
from onnxcam.hub import local, notes_of
from onnxcam.media import image as images
from onnxcam.media.tiles import Tiling
from onnxcam.metadata.labels import ClassNames
from onnxcam.metadata.prompting import Prompting
from onnxcam.metadata.reading import Part, Reading
from onnxcam.model import inputs as other_inputs
from onnxcam.model import probes
from onnxcam.model.clip_modality import ClipModality, clip_length
from onnxcam.model.inputs import InputValue
from onnxcam.model.invalid import explaining_invalid_models
from onnxcam.model.measured import Measured, apply_measured, uncertain
from onnxcam.model.modality import ImageModality, Modality, VolumeModality, no_volume
from onnxcam.model.placing import Places
from onnxcam.model.prepared import PreparedModel
from onnxcam.model.said import check_said
from onnxcam.model.signal_modality import ImageOrSignalModality
from onnxcam.model.signal_reading import signal_modality
from onnxcam.model.signals import SignalChoice
from onnxcam.model.stitched import StitchedOutput, joinable
from onnxcam.model.text import find_text_tower, takes_texts
from onnxcam.preprocess import Preprocess, ResolvedPreprocess, Spec, TensorSpec
from onnxcam.structure.layout import GridLayout, Layout, may_be_image, picture_layout
from onnxcam.structure.names import find
from onnxcam.structure.place import Place
from onnxcam.targets import Evidence, Goal, Look, Target, Task, find_tasks, probability, resolve
from onnxcam.targets.classification import Classes
from onnxcam.targets.evidence import open_length
from onnxcam.targets.scores import group_probability, is_no_probability, real_scores
from onnxcam.text_towers import TextTower

__all__ = ["ModelDescription"]


@dataclass
class ModelDescription:
    """A model, and what its file and its user say of it. See `onnxcam.Explainer` for the arguments.

    Attributes:
        image: The image input of the first copy that was opened.
        explained: The input that is explained: *image*, or the one named by *wrt*.
        others: The other inputs.
        outputs: The names of the model's outputs.
        names: The labels and the metadata.
        said: What the user says of the model in place of its card: `task`, `scores`, `boxes`, `letters`.
        size: The size to which an open input is fixed; None leaves it open.
        tiling: The windows over inputs of any size, one of which is the network's input; None: it takes whole inputs.
        cache: Keeps the model's canonical form from one start to the next.
        text_model: The text tower of an image tower; None: the model itself, if it holds both.
        tokenizer: The tokenizer of the text tower; None: the one beside it.
        signals: What the user says of signals: their rate, and the part to explain.
        frames: Which frames of a video are taken.
        tasks: What the model may do, the likeliest first.
        warnings: What the user should know about every map.
        stitched: The output that is joined of windows; None without windows.

    Raises:
        ModelError: no valid model, no image input, or no input named *wrt*.
    """

    model: ModelLike
    provider: str = "auto"
    preprocess: Spec | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    wrt: str | None = None
    given: Mapping[str, InputValue] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, ...] | None = None
    cache: GraphCache | None = None
    text_model: str | os.PathLike[str] | None = None
    tokenizer: str | os.PathLike[str] | None = None
    signals: SignalChoice = field(default_factory=SignalChoice)
    tiling: Tiling | None = None
    frames: int | str | None = None
    warnings: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.warnings += notes_of(self.model)
        if isinstance(self.model, str | os.PathLike):
            self.model = local(self.model)
        self._sessions: dict[tuple[str, ...], Session] = {}
        self._places = Places(self.probe_feeds, self._run)
        self.size = self.tiling.window if self.tiling is not None else self.size
        self._unused: PreparedModel | None = None  # the copy that was opened to be described
        self._measured: Measured = {}
        self._windows_differ = False  # whether it was said
        self._is_guess_told = False
        self.text_tower: TextTower | None = None  # until the tasks are known
        self.stitched: StitchedOutput | None = None  # looks are at one window until the output is known
        prepared = self.open()
        self._unused = prepared
        self.image, self.explained = prepared.image, prepared.explained
        graph = prepared.model.graph
        self.others = [value for value in graph.inputs if value is not prepared.image]
        self.outputs = [value.name or "" for value in graph.outputs]
        path = self.model if isinstance(self.model, Path) else None
        self._warn_of_equal_inputs()
        self.names = ClassNames(self.labels, path, dict(prepared.model.metadata_props), self.said)
        self.names.check()
        self._measure(prepared)
        with explaining_invalid_models(self.model):
            self.tasks = find_tasks(Evidence(graph, prepared.image, self.names, self._samples))
        check_said(self.said, self.tasks)
        self.text_tower = find_text_tower(self.model, self.tasks, self.text_model, self.tokenizer, self.provider)
        self.stitched = self._stitched()
        self.warnings += self.task.warnings
        with suppress(PreprocessError):  # the input takes no image
            if self.resolved.guessed and not self.task.sees_centre:
                self.resolved = self._resolved(self.image, whole=True)
            self.warnings += self.resolved.warnings

    def open(self) -> PreparedModel:
        """Return a copy of the model that the caller may edit."""
        if self._unused is not None:
            found, self._unused = self._unused, None
            return found
        with building(), explaining_invalid_models(self.model):
            prepared = PreparedModel.open(self.model, self.wrt, self.size, self.cache)
            self.warn_of_cache()
            if self._measured:
                apply_measured(prepared, self._measured)
            return prepared

    def warn_of_cache(self) -> None:
        """Warn of the entries of the cache that could not be used."""
        for text in self.cache.warnings if self.cache is not None else ():
            self.warn(text)

    @property
    def takes_texts(self) -> bool:
        """Whether a text tower can belong to the model: a task compares embeddings."""
        return takes_texts(self.tasks)

    @property
    def measured(self) -> bool:
        """Whether shapes of tensors were measured by runs on probe images."""
        return bool(self._measured)

    def _warn_of_equal_inputs(self) -> None:
        """Warn if other inputs take images like the explained one, and the user names none."""
        images = [x for x in self.others if self._is_like_image(x) and may_be_image(x)]
        alike = [name for x in images if (name := x.name or "") not in self.given]
        if alike and self.wrt is None:
            count, names = 1 + len(alike), ", ".join(map(repr, alike))
            self.warn(
                f"the model takes {count} images; the map explains {self.picture!r}, and --wrt another of {names}"
            )

    def _is_like_image(self, x: ir.Value) -> bool:
        return x.dtype == self.image.dtype and str(x.shape) == str(self.image.shape) and self.layout is not None

    def _measure(self, prepared: PreparedModel) -> None:
        """Measure the tensors whose shape is uncertain, where the model runs on probe images."""
        names = uncertain(prepared.model)
        if not names:
            return
        self._unused, runs = None, []
        for number, tensor in enumerate(self._probe_tensors()):
            with suppress(OnnxcamError), time_limit(probes.SECONDS):
                feeds = self.look(self._cut(tensor) if number else tensor, None, {}).feeds
                runs.append(self._run(feeds, names))
            if not runs:
                break
        self._unused = prepared
        if runs:
            self._measured = {name: [np.shape(run[name]) for run in runs] for name in names}
            apply_measured(prepared, self._measured)

    def _cut(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return *tensor* with seven eighths of the axes of space whose length is open."""
        shape, space = self.image.shape or (), () if self.layout is None else self.layout.space
        is_open = [axis in space and not isinstance(length, int) for axis, length in enumerate(shape)]
        return tensor[tuple(slice(n * 7 // 8 if cut else n) for n, cut in zip(tensor.shape, is_open, strict=True))]

    def probe_feeds(self) -> dict[str, NDArray[Any]]:
        """Return the inputs for the first probe image."""
        return dict(self.probe_look().feeds)

    def probe_look(self) -> Look:
        """Return the look at the first probe image."""
        return self.look(next(self._probe_tensors()), None, {})

    def probe_looks(self) -> list[Look]:
        """Return the looks at the probe images."""
        return [self.look(tensor, None, self._other_images(tensor)) for tensor in self._probe_tensors()]

    @property
    def reading(self) -> Reading:
        """What was read of the model, and how each part is known."""
        task = self.task
        source = self.names.source("task") or task.source
        labels = self.class_names
        parts = [Part("task", task.name, source), *task.parts()]
        if labels and not any(part.name == "letters" for part in parts):
            said = f"{len(labels)} names, {labels[0]!r} to {labels[-1]!r}"
            parts.append(Part("labels", said, self.names.origin(len(labels)), self.names.why(len(labels))))
        with suppress(PreprocessError):  # the input takes no image
            parts += [self.modality.reading, *filter(None, [self.modality.rate])]
        if self.text_tower is not None:
            parts += self.text_tower.reading
        filled = other_inputs.sizes(self.others, self._lengths()).keys() - self.given_inputs.keys()
        return Reading([*parts, other_inputs.part(sorted(filled))] if filled else parts)

    @contextmanager
    def telling_guess(self) -> Iterator[None]:
        """Add to every error that the preprocessing was a guess, if it was used: it may be the cause."""
        try:
            yield
        except (ImageError, MethodError):  # neither depends on what the tensor holds
            raise
        except OnnxcamError as error:
            guess = self.modality.guess
            if not guess or guess in str(error):
                raise
            raise type(error)(f"{error}; {guess}") from error

    def warn_of_guess(self) -> None:
        """Warn in Python, once, that the preprocessing is a guess, if it is."""
        guess, self._is_guess_told = "" if self._is_guess_told else self.modality.guess, True
        if guess:
            warn_caller(guess.replace("--preprocess", "preprocess="), GuessWarning)

    @property
    def task(self) -> Task:
        """The model's likeliest task."""
        return self.tasks[0]

    @property
    def class_names(self) -> Sequence[str] | None:
        """The labels that targets may use."""
        return getattr(self.task, "labels", None)

    @property
    def picture(self) -> str:
        """The name of the image input."""
        return self.image.name or ""

    @property
    def probability_outputs(self) -> list[str] | None:
        """The outputs from which `probabilities` computes; None where the model is no classifier."""
        return [self.task.scores.output] if isinstance(self.task, Classes) else None

    def probabilities(self, outputs: Mapping[str, NDArray[Any]], classes: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return the probability of each of *classes* [N]; None where the model gives none.

        It gives none where it is no classifier, or its scores are integers of unknown scale. ModelError where the
        outputs do not have N rows.
        """
        if not isinstance(self.task, Classes):
            return None
        scores = self.task.scores
        if len(outputs[scores.output]) != len(classes):
            raise ModelError(
                f"output {scores.output!r} has {len(outputs[scores.output])} rows for {len(classes)} images; "
                "export the model with an open batch"
            )
        rows = zip(outputs[scores.output], classes, strict=True)
        found = [probability(scores, {scores.output: row}, int(index), self.multi_label) for row, index in rows]
        return None if None in found else np.asarray(found, np.float64)

    def group_probability(self, outputs: Mapping[str, NDArray[Any]], classes: Sequence[int]) -> float | None:
        """Return the probability that the first image has one of *classes*; None where the model gives none."""
        if not isinstance(self.task, Classes):
            return None
        return group_probability(self.task.scores, outputs, classes, self.multi_label)

    def highest(self, outputs: Mapping[str, NDArray[Any]]) -> float | None:
        """Return the highest score of the first image where it is above 1 and the graph calls it a probability."""
        scores = self.task.scores if isinstance(self.task, Classes) else None
        if scores is None or scores.head not in ("softmax", "sigmoid"):
            return None
        real = real_scores(scores, outputs[scores.output][0])
        return None if real is None or not is_no_probability(real.max(initial=0)) else float(real.max())

    def parts(self, feeds: Mapping[str, NDArray[Any]]) -> list[str] | None:
        """Return a name for each element of the explained input: its word, or its index; None for an image."""
        if self.explained is self.image:
            return None
        name = self.explained.name or ""
        values, words = feeds[name].reshape(-1), self.names.card.vocabulary.get(name)
        return [words[int(i)] if words else f"{name}[{k}]" for k, i in enumerate(values)]

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several classes."""
        return self.names.multi_label

    @cached_property
    def layout(self) -> GridLayout | None:
        """The layout of the image's tensor; None where it has no spatial axes."""
        return picture_layout(self.image)

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    @property
    def preprocessing(self) -> Preprocess:
        """How images become tensors."""
        return self.resolved.preprocess

    @cached_property
    def resolved(self) -> ResolvedPreprocess:
        """How images become tensors, and how that is known."""
        return self._resolved(self.image)

    def warnings_of(self, seen: Any) -> list[str]:
        """Return the warnings about maps of *seen*, which the modality read; those about images only for an image."""
        about_images = self.resolved.warnings if "resolved" in vars(self) else ()
        own = self.modality.notes(seen)
        return list(dict.fromkeys([*(one for one in self.warnings if one not in about_images or one in own), *own]))

    @cached_property
    def _frame_preprocess(self) -> ResolvedPreprocess:
        """How a frame of a clip becomes [1, C, H, W], and how that is known."""
        layout, shape, names = self.layout, list(self.image.shape or ()), self.names
        assert layout is not None
        sides = [n if isinstance(n := shape[axis], int) else None for axis in layout.space[1:]]
        dtype = self.image.dtype.numpy() if self.image.dtype is not None else np.dtype(np.float32)
        spec = TensorSpec.make(self.picture, dtype, (None, 3, *sides), "nchw")
        return preprocessing.resolve(self.preprocess, spec, path=names.path, metadata=names.metadata)

    def use(self, preprocessing: ResolvedPreprocess) -> None:
        """Replace the preprocessing, and its warnings."""
        old = self.resolved.warnings
        self.warnings[:] = [*(one for one in self.warnings if one not in old), *preprocessing.warnings]
        self.resolved = preprocessing

    @cached_property
    def modality(self) -> Modality:
        """Images, volumes or signals."""
        layout, images = self.layout, ImageModality(lambda: self.resolved, self.warn)
        if layout is None:
            return images
        if len(layout.space) < 3:
            signals = signal_modality(self.image, layout, self.names, self.signals, self.preprocess, self.warn)
            return signals if len(layout.space) == 1 else ImageOrSignalModality(images, signals)
        self.signals.check_unused()
        dtype = self.image.dtype.numpy() if self.image.dtype is not None else np.dtype(np.float32)
        spec = self.preprocess or self.names.card.preprocess
        source = "user" if self.preprocess else "card" if spec else "guess"
        shape = list(self.image.shape or ())
        other = no_volume(shape, layout.channel)
        if shape[layout.channel] == 3:
            return ClipModality(layout, clip_length(shape, layout), lambda: self._frame_preprocess, self.frames, other)
        lengths = layout.size(self.image) if self.tiling is None else ()
        return VolumeModality(layout, dtype, spec, self.warnings.append, source, lengths, other, self._joins_windows)

    def _joins_windows(self) -> bool:
        """Whether the model has an output that windows can join."""
        return joinable(self.task) is not None

    def guess_by(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        """Let the first volume of *paths* that can be read decide the guess of a scaling, if it is one.

        Otherwise the first that happens to be read would, and a run in another order would have other numbers.
        """
        modality = self.modality
        for path in paths if isinstance(modality, VolumeModality) and not modality.spec else ():
            with suppress(ImageError):
                modality.tensor(modality.read(path))
                return

    @cached_property
    def given_inputs(self) -> dict[str, NDArray[Any]]:
        """The given values of other inputs, [1, …] by name."""
        prompting = Prompting.of(self.names.metadata)
        own = {} if prompting is None else prompting.inputs
        return {**other_inputs.unused(self.others), **own, **self.read_inputs(self.given)}

    def read_inputs(self, given: Mapping[str, InputValue]) -> dict[str, NDArray[Any]]:
        """Return *given* for other inputs as arrays, [1, …] by name; ModelError for a value that does not fit."""
        return other_inputs.read(given, self.others, self.names.card.vocabulary, self._prepare_other)

    def feeds(self, tensor: NDArray[Any], extra: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return a value for every input: the batch *tensor* [N, …], other inputs repeated for each image.

        *extra*, [1, …] or [N, …], overrides the given values. ModelError where an input is missing.
        """
        found = {**self._sizes(tensor), **self.given_inputs, **extra}
        other_inputs.missing(found, self.others)
        count = len(tensor)
        rows = {value.name or "": _repeated(found[value.name or ""], count) for value in self.others}
        return {self.picture: tensor, **rows}

    def _sizes(self, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the values of inputs that take the size of the image *tensor*."""
        layout = self.layout
        return {} if layout is None else other_inputs.sizes(self.others, [tensor.shape[axis] for axis in layout.space])

    def resolve(self, target: Target, look: Look) -> Goal:
        """Return what *target* means for the image of *look*; TargetError where it means nothing."""
        return resolve(self.tasks, target, self.class_names, look)

    def look(self, tensor: NDArray[Any], picture: Any, extra: Mapping[str, NDArray[Any]]) -> Look:
        """Return the look at one *tensor* [1, …], and at the *picture* that it was made of, None for none."""
        layout = self.layout
        space = layout.space if layout is not None else tuple(range(1, tensor.ndim))
        frame = None if picture is None else self.modality.frame(picture)
        size = tuple(tensor.shape[axis] for axis in space) if picture is None else self.modality.size(picture)
        known = {**self._sizes(tensor), **self.given_inputs, **extra}
        blank = {
            value.name or "": np.zeros([d if isinstance(d, int) else 1 for d in value.shape or ()], value.dtype.numpy())
            for value in self.others
            if value.dtype is not None and value.name not in known and value.dtype.is_integer()
        }
        feeds = {self.picture: tensor, **blank, **known}
        lengths = tuple(tensor.shape[axis] for axis in space)
        if self.stitched is not None:
            run = partial(self._run_tiles, self.stitched)
            return Look(feeds, self.picture, space, frame, size, run, self._prepare, self.modality.array)
        return Look(
            feeds, self.picture, space, frame, size, self._run, self._prepare, self.modality.array,
            text=self.text_tower, place=lambda name, layout: self._place_of(name, layout, lengths),
        )  # fmt: skip

    def _stitched(self) -> StitchedOutput | None:
        """Return the output over windows; None without windows. ModelError where the model has no output to join."""
        tiling, layout = self.tiling, self.layout
        if tiling is None or layout is None:
            return None
        tensor = next(self._probe_tensors())

        def run(name: str) -> NDArray[Any]:
            known = {**self._sizes(tensor), **self.given_inputs, **self._other_images(tensor)}
            return self._run({self.picture: tensor, **known}, [name])[name]

        def covers(name: str, layout: Layout) -> bool:
            return self._place_of(name, layout, tiling.window) is None

        return StitchedOutput.of(self.task, tiling, layout, run, covers)

    def _run_tiles(
        self, stitched: StitchedOutput, feeds: Mapping[str, NDArray[Any]], names: Sequence[str] | None
    ) -> Mapping[str, NDArray[Any]]:
        """Run the model on the tiles of the image in *feeds*; return its joined output, if it is one of *names*."""
        name = stitched.output.tensor

        def run(tile: NDArray[Any]) -> NDArray[Any]:
            return self._run({**feeds, **self._sizes(tile), self.picture: tile}, [name])[name]

        def join() -> NDArray[Any]:
            joined, apart = stitched.join(feeds[self.picture], run)
            if not self._windows_differ and (said := stitched.warning(apart, is_fixed=self._is_size_fixed)):
                self._windows_differ = True
                self.warn(said)
            return joined

        return stitched.outputs(names, self.outputs, join)

    @cached_property
    def _is_size_fixed(self) -> bool:
        """Whether the file fixes the lengths of the image input."""
        image = PreparedModel.open(self.model, self.wrt, None, self.cache).image
        layout = picture_layout(image)
        return layout is not None and all(isinstance(n, int) for n in layout.size(image))

    @cached_property
    def _kept(self) -> PreparedModel:
        """A copy of the model that is never edited."""
        return self.open()

    def tensor_of(self, layer: str) -> str:
        """Return the tensor that a *layer* names, as a tensor, a node or a module; LayerError if there is none."""
        return find(self._kept.model.graph, layer).name or ""

    def place(self, prepared: PreparedModel, value: ir.Value, layout: Layout, size: tuple[int, ...]) -> Place | None:
        """Return where the cells of *value*, a tensor of *prepared*, lie in an image tensor of *size*.

        None where they cover all of it evenly.
        """
        return self._places.find(prepared, value, layout, size)

    def _place_of(self, name: str, layout: Layout, size: tuple[int, ...]) -> Place | None:
        return self.place(self._kept, all_tensors(self._kept.model.graph)[name], layout, size)

    def _samples(self) -> list[Mapping[str, NDArray[Any]]]:
        """Return the outputs for each probe image; an empty list where the model cannot run on them."""
        with suppress(OnnxcamError), time_limit(probes.SECONDS):
            return [self._run(self.look(x, None, self._other_images(x)).feeds, None) for x in self._probe_tensors()]
        return []

    def _other_images(self, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return *tensor* for each input that was not given and has the shape of the image."""
        alike = filter(self._is_like_image, self.others)
        return {name: tensor for x in alike if (name := x.name or "") not in self.given_inputs}

    def _probe_tensors(self) -> Iterator[NDArray[Any]]:
        """Yield the tensors of the probe images; random ones where the input takes no image."""
        layout, shape, lengths = self.layout, tuple(self.image.shape or ()), self._lengths()
        space = () if layout is None else layout.space
        if len(lengths) == 2:
            with suppress(PreprocessError):
                yield from [self.modality.tensor(image) for image in probes.images((lengths[0], lengths[1]))]
                return
        dtype = self.image.dtype.numpy() if self.image.dtype is not None else np.dtype(np.float32)
        yield from probes.tensors(shape, space, dtype)

    def _lengths(self) -> tuple[int, ...]:
        """Return the lengths of the axes of space of the probe images."""
        shape, space = self.image.shape or (), () if self.layout is None else self.layout.space
        long = open_length(len(space))
        return tuple(n if isinstance(n := shape[axis], int) else long for axis in space)

    def _run(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str] | None) -> Mapping[str, NDArray[Any]]:
        """Run the model without an explanation; return its outputs, or the tensors *names*."""
        other_inputs.missing(feeds, self.others)
        session, size = self._session(tuple(names or ())), (self.image.shape or (1,))[0]
        count = size if isinstance(size, int) and len(feeds[self.picture]) == 1 else 1
        found = session.run({name: _repeated(feeds[name], count) for name in session.inputs})
        return found if count == 1 else {name: y[:1] if np.shape(y)[:1] == (count,) else y for name, y in found.items()}

    def _session(self, names: tuple[str, ...] = ()) -> Session:
        """Return the session of the model without an explanation, for its outputs or the tensors *names*."""
        if names not in self._sessions:
            model = self.open().model
            if names:
                tensors = all_tensors(model.graph)
                model.graph.outputs[:] = [tensors[name] for name in names]
            self._sessions[names] = Session(model, self.provider)
        return self._sessions[names]

    @property
    def runs_on(self) -> str:
        """ONNX Runtime's name of the provider that runs the model."""
        return self._session().provider

    def _prepare(self, picture: Any) -> NDArray[Any]:
        return self.modality.tensor(self.modality.read(picture))

    def _prepare_other(self, value: ir.Value, picture: Any) -> NDArray[Any]:
        return self._resolved(value).preprocess(images.read(picture))

    def _resolved(self, value: ir.Value, whole: bool = False) -> ResolvedPreprocess:
        """Return how an image becomes the input *value*, and how that is known; *whole*: a guess does not crop."""
        names, spec = self.names, TensorSpec.of(value)
        spec = spec if self.tiling is None else spec.as_tile()
        return preprocessing.resolve(
            self.preprocess, spec, path=names.path, metadata=names.metadata, graph_hint=value, whole=whole
        )


def _repeated(array: NDArray[Any], count: int) -> NDArray[Any]:
    return np.repeat(array, count, axis=0) if array.shape[:1] == (1,) and count > 1 else array
