"""Models that are none: their bytes changed, their graphs changed, or both."""

from __future__ import annotations

import contextlib
from random import Random

import onnx
from google.protobuf.message import DecodeError

from tests.fuzz import commands, graphs, networks, wire
from tests.fuzz.place import ASSETS, ROOT, Place


def case(rng: Random, place: Place) -> list[str]:
    """Lay out one case and return the words of its command."""
    return commands.on_model(rng, laid_out(rng, place), place.model(), place.picture())


def laid_out(rng: Random, place: Place) -> str:
    """Write a damaged model, with what its weights may lie in, and return its name."""
    data = _bytes_changed(rng) if rng.random() < 0.4 else _graph_changed(rng)
    beside = networks.weights()
    place.put(networks.EXTERNAL, wire.mutated(rng, beside) if rng.random() < 0.1 else beside)
    return place.put("model.onnx", data)


def _bytes_changed(rng: Random) -> bytes:
    data = _seed(rng)
    return wire.spliced(rng, data, _seed(rng)) if rng.random() < 0.1 else wire.mutated(rng, data)


def _graph_changed(rng: Random) -> bytes:
    model = onnx.load_from_string(_seed(rng))
    for _ in range(rng.choice((1, 1, 2, 3))):
        with contextlib.suppress(ValueError, TypeError, IndexError, DecodeError):  # protobuf refuses some values
            rng.choice(graphs.MUTATORS)(rng, model)
    data = graphs.unreadable(rng, model.SerializeToString())
    return wire.mutated(rng, data, 1) if rng.random() < 0.1 else data


def _seed(rng: Random) -> bytes:
    """Return a good model: mostly a small one, whose structure is most of the file."""
    if rng.random() < 0.8:
        return rng.choice(networks.NETWORKS)().SerializeToString()
    return rng.choice([ASSETS / "shapes.onnx", *sorted((ROOT / "models").glob("*.onnx"))]).read_bytes()
