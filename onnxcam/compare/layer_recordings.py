"""Layers in recordings: sketches of the activations and LayerCAM maps of a few images, and their comparison.

A sketch replaces the activations of a layer by a few sums of them with random signs. It is linear, so the cosine of two
sketches is near that of the activations: 1 - cosine is right to a few per cent.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.device_runner import digest
from onnxcam.compare.layer_agreement import LayerAgreement
from onnxcam.compare.layers import ImageLayers, LayerKey, LayerProbe, image_outcome, layer_agreement
from onnxcam.compare.observer import Observer, PreparedImage
from onnxcam.compare.recordings import Recording
from onnxcam.errors import RecordingError
from onnxcam.files import writing

__all__ = ["FILE", "SKETCH", "compare_recorded_layers", "record_layers", "sketch"]

FILE = "layers.npz"
"""Name of the file in a recording."""
SKETCH = 2048
"""Numbers of a sketch; layers with fewer activations are kept whole."""


def sketch(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return at most `SKETCH` numbers whose cosine with another sketch is near that of the *values*."""
    if values.size <= SKETCH:
        return values.astype(np.float32)
    places, signs = _hashes(values.size)
    return np.bincount(places, signs * values, SKETCH).astype(np.float32)


@lru_cache(maxsize=256)
def _hashes(count: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return place and sign of each of *count* values; the same on all machines and versions of NumPy."""
    random = np.random.RandomState(count % 2**32)
    return random.randint(0, SKETCH, count), (2 * random.randint(0, 2, count) - 1).astype(np.int8)


def record_layers(observer: Observer, images: Sequence[tuple[PreparedImage, int]], folder: Path) -> dict[str, Any]:
    """Write the layers for *images*, each explained for a class, into *folder*; return the entry for the recording.

    Raises:
        OutputError: the file cannot be written.
    """
    probe = LayerProbe(observer)
    arrays: dict[str, NDArray[Any]] = {}
    for number, (prepared, index) in enumerate(images):
        arrays |= _arrays(f"{number}.", probe.look(prepared, index))
    with writing(folder / FILE):
        np.savez(folder / FILE, **arrays)  # type: ignore[arg-type]
    return {
        "file": FILE,
        "sha256": digest(folder / FILE),
        "pictures": [prepared.sha256 for prepared, _ in images],
        "keys": [asdict(key) for key in probe.keys],
    }


def compare_recorded_layers(first: Recording, second: Recording) -> list[LayerAgreement]:
    """Return the agreement at each common layer, averaged over the images whose layers both recordings have.

    Raises:
        RecordingError: a recording has no layers, its file is damaged, or they have no such image in common.
        MetricError: the models have no common layer.
    """
    own, other = _RecordedLayers(first), _RecordedLayers(second)
    common = [sha256 for sha256 in own.rows if sha256 in other.rows]
    if not common:
        raise RecordingError(f"'{first.name}' and '{second.name}' have no image with layers in common")
    return layer_agreement(own.keys, other.keys, ((own.look(sha256), other.look(sha256)) for sha256 in common))


def _arrays(prefix: str, found: ImageLayers) -> dict[str, NDArray[Any]]:
    """Return the arrays of one image, by name."""
    arrays: dict[str, NDArray[Any]] = {}
    for at, ((shape, values), heat) in enumerate(zip(found.activations, found.maps, strict=True)):
        arrays[f"{prefix}{at}.shape"] = np.array(shape, np.int64)
        arrays[f"{prefix}{at}.activation"] = sketch(values)
        if heat is not None:
            arrays[f"{prefix}{at}.map"] = heat.astype(np.float32)
    return arrays


class _RecordedLayers:
    """The layers in a recording."""

    def __init__(self, recording: Recording) -> None:
        self._recording, entry = recording, recording.layers
        if entry is None:
            raise RecordingError(f"'{recording.name}' has no layers; record it with --layers")
        try:
            path = recording.folder / FILE
            if digest(path) != entry["sha256"]:
                raise self._damaged()
            with np.load(path) as file:
                self._arrays: Mapping[str, NDArray[Any]] = dict(file)
            self.keys = [LayerKey(**key) for key in entry["keys"]]
            self.rows = {sha256: number for number, sha256 in enumerate(entry["pictures"])}
        except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile):
            raise self._damaged() from None
        self._outcomes = {one["sha256"]: row for row, one in enumerate(recording.pictures)}

    def look(self, sha256: str) -> ImageLayers:
        """Return the layers for the image with this hash."""
        try:
            outcome = self._recording[self._outcomes[sha256]]
            names = [f"{self.rows[sha256]}.{at}" for at in range(len(self.keys))]
            activations = [(tuple(self._arrays[f"{x}.shape"].tolist()), self._arrays[f"{x}.activation"]) for x in names]
            maps = [self._arrays.get(f"{name}.map") for name in names]
        except KeyError:
            raise self._damaged() from None
        return ImageLayers(image_outcome(outcome, outcome.target or 0), activations, maps)

    def _damaged(self) -> RecordingError:
        return RecordingError(f"recording '{self._recording.name}': {FILE} is damaged; copy the whole folder again")
