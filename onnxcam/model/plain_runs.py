"""Runs of a model without an explanation: on an image, on windows of it, and on probe images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.engine import Session, time_limit
from onnxcam.errors import OnnxcamError, PreprocessError
from onnxcam.graph.io import all_tensors
from onnxcam.model import inputs as other_inputs
from onnxcam.model import probes
from onnxcam.model.input_values import InputValues, repeated
from onnxcam.model.measured import apply_measured, uncertain
from onnxcam.model.placing import Places
from onnxcam.model.prepared import PreparedModel
from onnxcam.model.stitched import StitchedOutput
from onnxcam.structure.layout import Layout
from onnxcam.structure.names import find
from onnxcam.structure.place import Place
from onnxcam.targets import Look

__all__ = ["PlainRuns"]


class PlainRuns(InputValues):
    """Runs of a model as it is."""

    _sessions: dict[tuple[str, ...], Session]
    _places: Places
    _windows_differ: bool

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

    def probe_feeds(self) -> dict[str, NDArray[Any]]:
        """Return the inputs for the first probe image."""
        return dict(self.probe_look().feeds)

    def probe_look(self) -> Look:
        """Return the look at the first probe image."""
        return self.look(next(self._probe_tensors()), None, {})

    def probe_looks(self) -> list[Look]:
        """Return the looks at the probe images."""
        return [self.look(tensor, None, self._other_images(tensor)) for tensor in self._probe_tensors()]

    def tensor_of(self, layer: str) -> str:
        """Return the tensor that a *layer* names, as a tensor, a node or a module; LayerError if there is none."""
        return find(self._kept.model.graph, layer).name or ""

    def place(self, prepared: PreparedModel, value: ir.Value, layout: Layout, size: tuple[int, ...]) -> Place | None:
        """Return where the cells of *value*, a tensor of *prepared*, lie in an image tensor of *size*.

        None where they cover all of it evenly.
        """
        return self._places.find(prepared, value, layout, size)

    @property
    def runs_on(self) -> str:
        """ONNX Runtime's name of the provider that runs the model."""
        return self._session().provider

    def _place_of(self, name: str, layout: Layout, size: tuple[int, ...]) -> Place | None:
        return self.place(self._kept, all_tensors(self._kept.model.graph)[name], layout, size)

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

    def _run(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str] | None) -> Mapping[str, NDArray[Any]]:
        """Run the model without an explanation; return its outputs, or the tensors *names*."""
        other_inputs.missing(feeds, self.others)
        session, size = self._session(tuple(names or ())), (self.image.shape or (1,))[0]
        count = size if isinstance(size, int) and len(feeds[self.picture]) == 1 else 1
        found = session.run({name: repeated(feeds[name], count) for name in session.inputs})
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
