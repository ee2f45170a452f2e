"""Files that go with a model or with images, damaged: labels, where objects are, what ecosystems put beside."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import cv2
import numpy as np

from tests.fuzz import values, wire
from tests.fuzz.place import Place, encoded

_NAMES = ["cat", "dog", "a red, round thing", "é"]
_TRUTH = {"picture.png": [{"label": "cat", "box": [2, 3, 12, 14]}, [1, 1, 5, 5]], "other.png": [[0, 0, 9, 9]]}
_PROCESSOR = {
    "do_resize": True, "size": {"shortest_edge": 16}, "do_center_crop": True, "crop_size": {"height": 16, "width": 16},
    "resample": 3, "do_rescale": True, "rescale_factor": 0.00392156862745098, "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "image_processor_type": "ViTImageProcessor",
}  # fmt: skip
_TIMM = {
    "input_size": [3, 16, 16], "interpolation": "bicubic", "crop_pct": 0.9, "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5], "crop_mode": "center",
}  # fmt: skip


def case(rng: Random, place: Place) -> list[str]:
    """Lay out one case and return the words of its command."""
    return rng.choice((_labels, _labels, _truth, _truth, _masks, _processor, _config))(rng, place)


def _text(rng: Random, value: Any) -> bytes:
    """Return a JSON value as text, after a mutation of the value, of its bytes, or of both."""
    kind = rng.random()
    if kind < 0.75:
        for _ in range(rng.randrange(1, 3)):
            value = values.damage_json(rng, value)
    data = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    return wire.mutated(rng, data) if kind > 0.6 else data


def _explain(place: Place, *words: str) -> list[str]:
    return ["explain", place.model(), place.picture(), *words, "-o", "out"]


def _labels(rng: Random, place: Place) -> list[str]:
    forms = (_NAMES, dict(enumerate(_NAMES)), {"id2label": dict(enumerate(_NAMES))}, [["n1", name] for name in _NAMES])
    if rng.random() < 0.5:
        lines = [name if rng.random() < 0.6 else values.text(rng) for name in _NAMES]
        data = "\n".join(lines).encode("utf-8", "surrogatepass")
        file = place.put(rng.choice(("labels.txt", "labels.csv", "labels")), wire.mutated(rng, data, 2))
    else:
        file = place.put("labels.json", _text(rng, rng.choice(forms)))
    command = rng.choice((_explain, _bake, _record))
    return [*command(place, "-p", "unit"), "--labels", file, "-t", rng.choice(("top", "cat", "1", "zebra"))]


def _bake(place: Place, *words: str) -> list[str]:
    return ["bake", place.model(), *words, "-o", "baked.onnx"]


def _record(place: Place, *words: str) -> list[str]:
    return ["record", place.model(), place.picture(), *words, "-o", "out"]


def _measured(rng: Random, place: Place, truth: str) -> list[str]:
    """Return a command that reads where objects are."""
    values_ = rng.choice(([], ["--mask-values", rng.choice(("class", "class+1", "object", "nonsense"))]))
    model, picture = place.model(), place.picture()
    if rng.random() < 0.5:
        return ["validate", model, model, picture, "-p", "unit", "--truth", truth, *values_, "-o", "out", "--json"]
    labels = place.put("names.txt", "\n".join(_NAMES).encode())
    words = ["evaluate", model, picture, "-p", "unit", "--truth", truth, *values_, "--labels", labels]
    return [*words, "--metric", "localisation", "-o", "out", "--json"]


def _truth(rng: Random, place: Place) -> list[str]:
    return _measured(rng, place, place.put("truth.json", _text(rng, _TRUTH)))


def _masks(rng: Random, place: Place) -> list[str]:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 4:16] = rng.choice((1, 2, 3, 4, 200, 255))
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: encoded(".png", mask),
        lambda: encoded(".png", mask[:9, :9]),
        lambda: encoded(".png", mask.astype(np.uint16) * 257),
        lambda: encoded(".png", cv2.merge([mask] * 4)),
        lambda: encoded(".jpg", mask),
        lambda: b"",
        lambda: wire.mutated(rng, encoded(".png", mask)),
    )
    name = place.put(rng.choice(("masks/picture.png", "masks/picture_mask.png", "masks/x.png")), rng.choice(makers)())
    return _measured(rng, place, rng.choice(("masks", name, "nowhere", ".")))


def _processor(rng: Random, place: Place) -> list[str]:
    value = _PROCESSOR if rng.random() < 0.6 else {"image_processor": _PROCESSOR}
    place.put(rng.choice(("preprocessor_config.json", "processor_config.json")), _text(rng, value))
    return rng.choice((_explain, _bake, _record))(place)


def _config(rng: Random, place: Place) -> list[str]:
    named = {"id2label": dict(enumerate(_NAMES)), "label_names": _NAMES, "pretrained_cfg": _TIMM}
    place.put("config.json", _text(rng, named))
    return rng.choice((_explain, _bake, _record))(place)
