"""The commands that `models`, `pictures` and `words` leave out: pack, web, demo, and the lists of inspect."""

from __future__ import annotations

from random import Random

from tests.fuzz import commands, models, values, wire
from tests.fuzz.place import Place, png

_METHODS = (*commands.METHODS, "")


def case(rng: Random, place: Place) -> list[str]:
    """Lay out one case and return the words of its command."""
    return rng.choice((_pack, _pack, _web, _demo, _operators))(rng, place)


def _pack(rng: Random, place: Place) -> list[str]:
    model = models.laid_out(rng, place) if rng.random() < 0.6 else place.model()
    picture = place.put("picture.png", wire.mutated(rng, png()) if rng.random() < 0.4 else png())
    recording = place.take("recording")
    extra = rng.choice(
        ([], ["-i", picture], ["-i", picture, "-t", "top"], ["-t", "input"], ["--explain-from", recording], ["-i", "."])
    )
    return ["pack", model, *commands.preprocess(rng), "-m", rng.choice(_METHODS), "-o", "pack.zip", *extra]


def _web(rng: Random, place: Place) -> list[str]:
    runtime = place.put("runtime.tgz", wire.mutated(rng, png()))
    extra = rng.choice((["--runtime", runtime], ["--runtime", "."], ["--model", models.laid_out(rng, place)]))
    return ["web", *extra, "--runtime", runtime, "-o", "site"]


def _demo(rng: Random, place: Place) -> list[str]:
    name = values.text(rng).replace("\0", "")[:300] if rng.random() < 0.3 else rng.choice(_METHODS)
    return ["demo", "-m", name, "-o", rng.choice(("demo", place.picture(), "a/b"))]


def _operators(rng: Random, place: Place) -> list[str]:
    output = rng.choice(("list.txt", place.picture(), "model.onnx", "."))
    return ["inspect", models.laid_out(rng, place), "--operators", output]
