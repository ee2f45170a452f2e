"""The networks of the family, one file each."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from models.family import Task

FAMILY = (
    "classifier",
    "classifier_fc",
    "classifier_vit",
    "classifier_registers",
    "detector",
    "segmenter",
    "volumes",
    "embedder",
    "clip_image",
    "keypoints",
    "landmarks",
    "reader",
    "captioner",
    "answerer",
    "upscaler",
    "brightener",
    "compressor",
    "renderer",
    "signals",
    "keywords",
)


def task(name: str) -> Task[Any]:
    """Return the task of this name."""
    return import_module(f"models.tasks.{name}").TASK
