"""Validations made by hand, for the tests of what becomes of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import onnxcam
from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.map_comparison import ObjectComparison
from onnxcam.compare.outcome import Answer, ModelInfo
from onnxcam.compare.validation import Statistics, Validation, Verdict

LABELS = ("cat", "dog")
PHOTO = str(Path(onnxcam.__file__).parent / "assets" / "shapes_1.png")
SIDES = (
    ModelInfo("net.onnx", "a" * 64, "float32", "gradcam", "conv_9", "resize=256,crop=224x224,range=0-1", "CPU"),
    ModelInfo("net_int8.onnx", "b" * 64, "int8", "gradcam", "conv_9", "resize=256,crop=224x224,range=0-1", "CPU"),
)


def blob(x: float, y: float, height: float = 1.0, shape: tuple[int, int] = (42, 56)) -> np.ndarray:
    """A map that looks at (x, y), in shares of the image."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    far = ((columns / shape[1] - x) ** 2 + (rows / shape[0] - y) ** 2) / 0.03
    return (height * np.exp(-far)).astype(np.float16)


def pair(picture: str, moved: float = 0.1, **told: Any) -> ImageComparison:
    """A pair whose candidate looks *moved* to the right; its metrics follow from that alone, so that tests can tell."""
    known = hashlib.sha256(Path(picture).read_bytes()).hexdigest() if os.path.isfile(picture) else "0" * 64
    values = {
        "top1": float(moved < 0.5),
        "iou": 1 - moved,
        "pearson": 1 - moved / 2,
        "peak": moved / 2,
        "kl": moved / 9,
    }
    tops = told.pop("tops", (0, 0 if moved < 0.5 else 1))
    sure = told.pop("confidence", (0.9, 0.9 - moved / 2))
    maps = told.pop("maps", (blob(0.3, 0.5), blob(0.3 + moved / 2, 0.5, 0.8)))
    target = told.pop("target", 0)
    one = ObjectComparison(f"#{target}", target, (None, None), (None, None), {}, (), maps)
    names = told.pop("names", LABELS)
    answers = tuple(_answer(top, p, names) for top, p in zip(tops, sure, strict=True))
    made: dict[str, Any] = {
        "picture": picture,
        "sha256": known,
        "size": (384, 512),
        "answers": answers,
        "objects": (one,),
        "values": values,
        "notes": (),
    }
    return ImageComparison(**made | told)


def _answer(top: int, sure: float | None, names: Sequence[str]) -> Answer:
    label = names[top] if top < len(names) else None
    return Answer(label or f"class {top}", sure, {"index": top, "label": label})


def summary(metric: str, pairs: Sequence[ImageComparison]) -> Statistics:
    kept = [(one.values[metric], one.picture) for one in pairs if metric in one.values]
    values = [value for value, _ in kept]
    worst = (min if AGREEMENT_METRICS[metric].better == "higher" else max)(kept)
    mean = float(np.mean(values))
    return Statistics(
        metric, mean, mean - 0.01, mean + 0.01, float(np.median(values)), *worst, len(kept), len(pairs) - len(kept)
    )


def validation(
    pairs: Iterable[ImageComparison], required: Sequence[str] = ("iou >= 0.6", "top1 >= 0.9"), **told: Any
) -> Validation:
    """The validation of *pairs*, which must reach what is *required* on the mean."""
    pairs = list(pairs)
    summaries = {id: summary(id, pairs) for id in AGREEMENT_METRICS if any(id in one.values for one in pairs)}
    verdicts = []
    for words in required:
        metric, sign, bound = words.split()
        mean = summaries[metric].mean if metric in summaries else None
        holds = mean is not None and (mean >= float(bound) if sign == ">=" else mean <= float(bound))
        verdicts.append(Verdict(metric, words, mean, holds))
    made: dict[str, Any] = {
        "reference": SIDES[0],
        "candidate": SIDES[1],
        "journal": pairs,
        "summaries": summaries,
        "verdicts": verdicts,
        "unreadable": [],
        "warnings": [],
        "labels": list(LABELS),
        "seconds": 12.5,
    }
    return Validation(**made | told)
