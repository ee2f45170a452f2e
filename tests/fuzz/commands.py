"""Command lines: which commands a case runs, with which options."""

from __future__ import annotations

from random import Random

from tests.fuzz.outcome import TIMEOUT

METHODS = (
    "gradcam", "gradcam", "gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "fullgrad", "gradient", "lrp",
    "lrp-epsilon", "deeplift", "cam", "legrad", "attnlrp", "chefer", "guided-backprop", "ablationcam", "scorecam",
    "recipro-cam", "occlusion",
    "finercam", "excitation-backprop", "integrated-gradients", "smoothgrad", "kpcacam", "nonsense",
)  # fmt: skip
PREPROCESS = ("unit", "unit", "imagenet", "raw", None)


def preprocess(rng: Random) -> list[str]:
    """Return how images become tensors, or nothing."""
    chosen = rng.choice(PREPROCESS)
    return [] if chosen is None else ["-p", chosen]


def explain(rng: Random, model: str, *pictures: str, output: str = "out") -> list[str]:
    """Return an explain of any method."""
    words = ["explain", model, *pictures, "-m", rng.choice(METHODS), *preprocess(rng), "-o", output]
    words += rng.choice(([], [], ["--json"], ["--boxes"], ["--signed"], ["-k", "2"]))
    return [*words, *drawing(rng)]


def drawing(rng: Random) -> list[str]:
    """Return what an explain writes and in which format, also in ways that it refuses, or nothing."""
    maps = rng.choice(([], [], *(["--maps", kind] for kind in ("raw", "overlay", "all", "every"))))
    formats = ([], [], *(["--format", kind] for kind in ("jpeg", "png", "webp", "gif")), ["--quality", "1"])
    return [*maps, *rng.choice(formats)]


def inspect(rng: Random, model: str) -> list[str]:
    """Return an inspect of any kind."""
    extra = rng.choice(
        ([], ["--json"], ["--json"], ["--for", "all"], ["--for", "cpu", "--json"], ["--operators", "ops.txt"])
    )
    return ["inspect", model, *extra]


LIMIT = ["--timeout", str(TIMEOUT)]


def on_model(rng: Random, model: str, good: str, picture: str) -> list[str]:
    """Return any command that takes a model."""
    return [*_on_model(rng, model, good, picture), *LIMIT]


def _on_model(rng: Random, model: str, good: str, picture: str) -> list[str]:
    kind = rng.randrange(10)
    if kind < 4:
        return explain(rng, model, picture)
    if kind < 6:
        return inspect(rng, model)
    if kind == 6:
        pair = [good, model] if rng.random() < 0.7 else [model, good]
        extra = rng.choice(([], ["--json"], ["--layers"]))
        return ["validate", *pair, picture, "-p", "unit", "-o", "out", *extra]
    if kind == 7:
        extra = rng.choice(
            ([], ["--overlay"], ["--preprocess-inside"], ["-t", "input"], ["--opset", "15"], ["--uint8"])
        )
        return ["bake", model, *preprocess(rng), "-o", "baked.onnx", *extra]
    if kind == 8:
        extra = rng.choice(([], ["-l", "all-blocks"], ["--no-gradients"], ["--input-gradient"]))
        return ["instrument", model, "-o", "instrumented.onnx", *extra]
    return ["record", model, picture, *preprocess(rng), "-o", "out"]


def on_picture(rng: Random, model: str, *pictures: str) -> list[str]:
    """Return any command that takes images."""
    kind = rng.randrange(6)
    if kind < 3:
        return ["explain", model, *pictures, "-p", "unit", "-o", "out", *rng.choice(([], ["--json"])), *drawing(rng)]
    if kind == 3:
        return [
            "validate",
            model,
            model,
            *pictures,
            "-p",
            "unit",
            "-o",
            "out",
            *rng.choice(([], ["--strict"], ["--json"])),
        ]
    if kind == 4:
        return ["record", model, *pictures, "-p", "unit", "-o", "out", *rng.choice(([], ["--strict"]))]
    return ["evaluate", model, *pictures, "-p", "unit", "--metric", "complexity", "-o", "out"]
