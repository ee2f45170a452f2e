"""Words of the command line by their grammars, with faults, and of random bytes."""

from __future__ import annotations

import os
from random import Random

from tests.fuzz import values
from tests.fuzz.place import Place

_NUMBERS = (
    "0",
    "1",
    "-1",
    "3",
    "4",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "9" * 400,
    "99999999999999999999",
    "0.5",
    "",
    "1e-400",
)
_GRAMMARS: dict[str, tuple[str, ...]] = {
    "--target": (
        "top", "top=N", "N", "N-N", "not N", "y[N, N]", "y[:, N].sum()", "y[N:N:N].mean()", "a[N, N, N, N]",
        "box=N,N,N,N",
        "box=N,N,N,N class=N", "detection=N", "class=N", "class=N mask=picture.png", "mask=W", "like=picture.png",
        "like=W",
        "like=picture.png unlike=W", 'like="W W" unlike="W"', 'like="W',
        "text=W", "text=W at=N", "word=W", 'word=W after="W"', "word=W step=N",
        "patch=N,N,N,N",
        "W", "W=W", "y[W]", "=", "[", "not", "not not N", "N-N-N",
    ),
    "--preprocess": (
        "imagenet", "unit", "raw", "caffe", "resize=N", "resize=NxN", "crop=N", "resize=N,crop=N", "letterbox=N",
        "mean=N",
        "mean=N/N/N", "std=N/N/N", "range=N-N", "order=W", "layout=W", "interpolation=W", "unit,mean=N", "W", "W=W",
        ",",
        "unit,unit", "unit,order=bgr,std=N", "resize=99999", "resize=99999x1", "crop=99999x99999",
        "clip,interpolation=area",
    ),
    "--require": (
        "iou>=N", "iou.low>N", "iou.worst<=N", "top1>=N,iou<N", "W>=N", "iou.W>N", "iou", "iou=N", "iou>=", ">=N",
        ",", "W",
        "pearson>=N, pearson>=N", "mapped>=N",
    ),
    "--set": ("samples=N", "size=N", "stride=N", "cells=N", "steps=N", "noise=N", "seed=N", "W=N", "samples=W", "=",
    "W",
              "batch=N", "keep=N", "gamma=N", "epsilon=N"),
    "--input": ("x=N", "W=N", "x=picture.png", "x=W", "x=[N,N]", "x=", "=N", "W"),
    "--layer": ("auto", "relu", "a", "c", "W", "conv", "N", "", "x", "y"),
    "--wrt": ("x", "y", "W", ""),
    "--labels": ("W", "picture.png", ".", "good.onnx"),
    "--provider": ("cpu", "cuda", "W", "auto", "CPUExecutionProvider", "openvino"),
    "--colormap": ("jet", "W"),
    "--opacity": ("N",),
    "--top": ("N",),
    "--smooth": ("aug", "eigen", "aug+eigen", "W"),
    "--method": ("W", "gradcam", "N"),
    "--output": ("W", ".", "picture.png", "picture.png/x", "a/b/c", "good.onnx", "good.onnx/x", "N"),
}  # fmt: skip
_SETTERS = ("rise", "occlusion", "lrp-gamma", "lrp-epsilon", "smoothgrad", "integrated-gradients", "gradcam", "sscam")
_OPTIONS = {
    "explain": ("--target", "--target", "--target", "--preprocess", "--preprocess", "--set", "--input", "--layer",
    "--wrt",
                "--labels", "--provider", "--colormap", "--opacity", "--top", "--smooth", "--method", "--output"),
    "validate": ("--require", "--require", "--preprocess", "--target", "--set", "--layer", "--method", "--labels"),
    "bake": ("--target", "--preprocess", "--layer", "--method", "--set", "--labels", "--output"),
    "record": ("--target", "--preprocess", "--layer", "--method", "--set", "--labels"),
    "instrument": ("--layer", "--output"),
    "evaluate": ("--target", "--preprocess", "--set", "--layer", "--labels"),
}  # fmt: skip


def case(rng: Random, place: Place) -> list[str]:
    """Lay out one case and return the words of its command."""
    command = rng.choice(("explain", "explain", "explain", *_OPTIONS))
    model, picture = place.model(), place.picture()
    base = {
        "explain": [model, picture],
        "validate": [model, model, picture],
        "bake": [model],
        "record": [model, picture],
        "instrument": [model],
        "evaluate": [model, picture, "--metric", "complexity"],
    }[command]
    words = [command, *base]
    chosen = rng.sample(_OPTIONS[command], rng.choice((1, 1, 2)))
    for option in dict.fromkeys(chosen):
        words += [*_method(rng, command, option), option, _word(rng, option)]
    if command != "explain" and "--output" not in chosen:
        words += ["-o", "out.onnx" if command in ("bake", "instrument") else "out"]
    if "--preprocess" not in chosen and command != "instrument":
        words += ["-p", "unit"]
    return [*words, *(["--json"] if command in ("explain", "validate") and rng.random() < 0.3 else [])]


def _method(rng: Random, command: str, option: str) -> list[str]:
    return ["-m", rng.choice(_SETTERS)] if option == "--set" and command == "explain" else []


def _word(rng: Random, option: str) -> str:
    """Return a word for *option*; what is written stays in the case's folder."""
    word = _any_word(rng, option)
    return word.replace("..", "").lstrip("/ ") if option == "--output" else word


def _any_word(rng: Random, option: str) -> str:
    """Return a word of the option's grammar, which may have a fault; NUL cannot stand in a command line."""
    if rng.random() < 0.07:
        return os.fsdecode(bytes(rng.randrange(1, 256) for _ in range(rng.randrange(1, 20))))
    form = rng.choice(_GRAMMARS[option])
    made = "".join(_filled(rng, char) for char in form)
    if rng.random() < 0.2 and made:
        at = rng.randrange(len(made))
        made = rng.choice((made[:at], made[:at] + rng.choice("=,[]-:.\"'\x1b é") + made[at:], made * 2))
    return made.replace("\0", "")


def _filled(rng: Random, char: str) -> str:
    if char == "N":
        return rng.choice((rng.choice(_NUMBERS), str(rng.randrange(20)), str(values.integer(rng))))
    return values.text(rng).replace("\0", "")[:60_000] if char == "W" else char
