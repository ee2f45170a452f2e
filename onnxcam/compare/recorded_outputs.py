"""Recordings of a device that knows no task: the outputs of the model, read on the host by the model beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.compare.device_runner import MODEL, digest
from onnxcam.compare.observer import Observer
from onnxcam.compare.outcome import Prediction
from onnxcam.compare.recorded_objects import RecordedObjects
from onnxcam.compare.recording_files import RecordingFiles, is_length
from onnxcam.errors import OnnxcamError, RecordingError
from onnxcam.media.frame import Frame
from onnxcam.targets.goal import Look

__all__ = ["RecordedOutputs"]

_PIXELS = 2**26  # maximum pixels of an input


class RecordedOutputs(RecordedObjects):
    """Outputs of a model, read by the model file in the recording; its maps as in `RecordedObjects`.

    Raises:
        RecordingError: as for `RecordedObjects`, or the model file is missing or changed.
    """

    def __init__(self, files: RecordingFiles, pictures: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(files, pictures)
        for place, one in enumerate(pictures):
            size = one.get("tensor")
            if not (isinstance(size, list) and len(size) == 2 and all(map(is_length, size)) and _is_small(size)):
                raise files.wrong(f"pictures[{place}]: tensor is not [H, W] of the model's input (docs/recording.md)")
        self._check_models(files.part_of(files.part("reading", dict), "files", dict))

    def _check_models(self, models: Mapping[str, Any]) -> None:
        if MODEL not in models:
            raise self._files.wrong(f"reading.files has no {MODEL}, which reads the outputs")
        for name, sha256 in models.items():
            path = self._files.folder / name
            if Path(name).name != name or paths.kind(path) != "file" or digest(path) != sha256:
                raise self._files.wrong(f"{name!r} is missing or has changed; copy the whole folder again")

    @cached_property
    def _observer(self) -> Observer:
        try:
            found = Observer(self._files.folder / MODEL, labels=self._files.texts("labels"), provider="cpu")
        except OnnxcamError as error:
            raise self._files.wrong(f"{MODEL} cannot read the outputs: {error}") from None
        if found.prediction is not self.prediction:
            tasks = found.prediction.task, self.prediction.task
            raise self._files.wrong(f"{MODEL} is read as a model for {tasks[0]}, the outputs are of one for {tasks[1]}")
        return found

    def prediction_of(self, row: int) -> Prediction:
        """Return the prediction for image number *row*, read from the outputs; raise RecordingError if it is none."""
        try:
            return self._observer.observation.predict(self._observer, self._look(row))
        except RecordingError:
            raise
        except (OnnxcamError, ValueError, IndexError, TypeError) as error:  # outputs of other shapes
            raise self._files.wrong(f"pictures[{row}].arrays are no outputs of {MODEL}: {error}") from None

    def _look(self, row: int) -> Look:
        picture, network = self._pictures[row], self._observer.network
        size, frame = picture["size"], picture.get("frame")
        whole = Frame(0.0, 0.0, size[1], size[0])
        return replace(
            network.look(self._blank(picture["tensor"]), None, {}),
            frame=whole if frame is None else Frame(*frame),
            picture=(size[0], size[1]),
            known=self.arrays_of(row),
            run=self._refuse,
        )

    def _blank(self, size: Sequence[int]) -> NDArray[Any]:
        """Return an input tensor of the recorded size; only its shape counts."""
        network = self._observer.network
        shape = [length if isinstance(length, int) else 1 for length in network.image.shape or ()]
        for axis, length in zip(() if network.layout is None else network.layout.space, size, strict=False):
            shape[axis] = length
        return np.zeros(shape, np.float32)

    def _refuse(self, feeds: Any, names: Sequence[str] | None) -> Mapping[str, NDArray[Any]]:
        raise self._files.wrong(f"the output {(names or ['?'])[0]!r} was not recorded; make the pack again")


def _is_small(size: Sequence[int]) -> bool:
    return size[0] * size[1] <= _PIXELS
