"""Doubt about a verdict: the inputs of the two models differ, or a guessed preprocessing decides what is found."""

from __future__ import annotations

from collections.abc import Sequence

from onnxcam.compare.inputs import ImageModel, InputDifference, alternatives, is_open, preset_of, presets, using
from onnxcam.compare.pipeline import LoadedImage, ModelPair
from onnxcam.compare.summary import completed, summarise
from onnxcam.compare.thresholds import Requirement

__all__ = ["PROBED", "find_doubt"]

PROBED = 8
"""Number of images on which other preprocessings are tried."""


def find_doubt(
    task: ModelPair,
    images: Sequence[str],
    requirements: Sequence[Requirement],
    differing: InputDifference | None,
    present: bool,
    holds: bool,
) -> str:
    """Return why the requirements say nothing about the candidate, and what to do; empty if they do.

    Args:
        task: Both models, and what to compare.
        images: Readable images; other preprocessings are tried on them.
        requirements: What is required.
        differing: How the inputs of both models differ; None if they do not.
        present: Whether the requirements hold on *images* alone.
        holds: Whether the requirements hold on all images.
    """
    if differing is not None and not differing.intended and not holds:
        return (
            f"the two models get different inputs: {differing.words}; state the right preprocessing"
            f"{_advice(task, images, requirements)}"
        )
    if differing is None and is_open(task.reference, task.candidate):
        return _open_doubt(task, images, requirements, present)
    return ""


def _open_doubt(task: ModelPair, images: Sequence[str], requirements: Sequence[Requirement], present: bool) -> str:
    """Return a doubt if another preprocessing than the guessed one changes the verdict on *images*."""
    sides = [task.reference, task.candidate]
    for name, preprocessings in alternatives(*sides).items():
        with using(sides, preprocessings):
            other = _hold(task, images, requirements)
        if other != present:
            words, guess = ("fail", "hold"), preset_of(task.reference)
            return (
                f"the preprocessing is a guess that decides the verdict: on the first {len(images)} images the "
                f"requirements {words[present]} with {guess} (the guess), and {words[other]} with {name}; state the "
                f"right one with --preprocess, such as -p {guess} or -p {name}"
            )
    return ""


def _advice(task: ModelPair, images: Sequence[str], requirements: Sequence[Requirement]) -> str:
    """Return the end of a message: the options with which the requirements hold on *images*, else all options."""
    tries: list[tuple[str, list[ImageModel]]] = [("-p", [task.reference, task.candidate])]
    tries += [(f"--{side}-preprocess", [model]) for side, model in task.sides if is_open(model)]
    for option, models in tries:
        for name, preprocessings in presets(*models).items():
            with using(models, preprocessings):
                if _hold(task, images, requirements):
                    return f": with {option} {name} the requirements hold on the first {len(images)} images"
    return " with --preprocess for both, or with --reference-preprocess and --candidate-preprocess for each"


def _hold(task: ModelPair, images: Sequence[str], requirements: Sequence[Requirement]) -> bool:
    """Return whether *requirements* hold on *images*, by the present preprocessing of both models."""
    loaded = [one for one in map(task.load, images) if isinstance(one, LoadedImage)]
    pairs = [task.compare(one, *pair) for one, pair in zip(loaded, task.ask(loaded), strict=True)]
    summaries = summarise(completed(pairs, task.reference.prediction))
    return all(requirement.verdict(summaries).holds for requirement in requirements)
