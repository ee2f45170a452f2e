"""Images, volumes and signals -> tensors, and the values of the other inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam import preprocess as preprocessing
from onnxcam.errors import GuessWarning, ImageError, LabelError, MethodError, OnnxcamError, warn_caller
from onnxcam.media import image as images
from onnxcam.metadata.prompting import Prompting
from onnxcam.model import inputs as other_inputs
from onnxcam.model.clip_modality import ClipModality, clip_length
from onnxcam.model.inputs import InputValue
from onnxcam.model.modality import ImageModality, Modality, VolumeModality, no_volume
from onnxcam.model.model_file import ModelFile
from onnxcam.model.signal_modality import ImageOrSignalModality
from onnxcam.model.signal_reading import signal_modality
from onnxcam.model.stitched import joinable
from onnxcam.preprocess import Preprocess, ResolvedPreprocess, TensorSpec
from onnxcam.targets.evidence import open_length

__all__ = ["InputValues", "repeated"]


class InputValues(ModelFile):
    """The values of a model's inputs, and how they are read and preprocessed."""

    _is_guess_told: bool

    @property
    def preprocessing(self) -> Preprocess:
        """How images become tensors."""
        return self.resolved.preprocess

    @cached_property
    def resolved(self) -> ResolvedPreprocess:
        """How images become tensors, and how that is known."""
        return self._resolved(self.image)

    def use(self, preprocessing: ResolvedPreprocess) -> None:
        """Replace the preprocessing, and its warnings."""
        old = self.resolved.warnings
        self.warnings[:] = [*(one for one in self.warnings if one not in old), *preprocessing.warnings]
        self.resolved = preprocessing

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

    @contextmanager
    def telling_guess(self) -> Iterator[None]:
        """Add to every error that the preprocessing was a guess, if it was used: it may be the cause."""
        try:
            yield
        except (ImageError, LabelError, MethodError):  # none depends on what the tensor holds
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
        rows = {value.name or "": repeated(found[value.name or ""], count) for value in self.others}
        return {self.picture: tensor, **rows}

    def parts(self, feeds: Mapping[str, NDArray[Any]]) -> list[str] | None:
        """Return a name for each element of the explained input: its word, or its index; None for an image."""
        if self.explained is self.image:
            return None
        name = self.explained.name or ""
        values, words = feeds[name].reshape(-1), self.names.card.vocabulary.get(name)
        return [words[int(i)] if words else f"{name}[{k}]" for k, i in enumerate(values)]

    def _sizes(self, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the values of inputs that take the size of the image *tensor*."""
        layout = self.layout
        return {} if layout is None else other_inputs.sizes(self.others, [tensor.shape[axis] for axis in layout.space])

    def _lengths(self) -> tuple[int, ...]:
        """Return the lengths of the axes of space of the probe images."""
        shape, space = self.image.shape or (), () if self.layout is None else self.layout.space
        long = open_length(len(space))
        return tuple(n if isinstance(n := shape[axis], int) else long for axis in space)

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


def repeated(array: NDArray[Any], count: int) -> NDArray[Any]:
    """Return an *array* of one row with *count* of them; another as it is."""
    return np.repeat(array, count, axis=0) if array.shape[:1] == (1,) and count > 1 else array
