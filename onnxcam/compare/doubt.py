"""Doubt about a verdict: the inputs of the two models differ, or a guessed preprocessing decides what is found."""

from __future__ import annotations

from collections.abc import Sequence

from onnxcam.compare.inputs import InputDifference, alternatives, is_open, using
from onnxcam.compare.pipeline import LoadedImage, ModelPair
from onnxcam.compare.summary import summarise
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
            f"the two models get different inputs: {differing.words}; state the right preprocessing for both with "
            f"--preprocess{_example(task)}, or for each with --reference-preprocess and --candidate-preprocess"
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
            words = ("fail", "hold")
            return (
                f"the preprocessing is a guess that decides the verdict: on the first {len(images)} images the "
                f"requirements {words[present]} with the guess ({task.reference.network.preprocessing}), and "
                f"{words[other]} with {name!r}; state the right one with --preprocess, for example -p {name}"
            )
    return ""


def _hold(task: ModelPair, images: Sequence[str], requirements: Sequence[Requirement]) -> bool:
    """Return whether *requirements* hold on *images*, by the present preprocessing of both models."""
    loaded = [one for one in map(task.load, images) if isinstance(one, LoadedImage)]
    pairs = [task.compare(one, *pair) for one, pair in zip(loaded, task.ask(loaded), strict=True)]
    summaries = summarise(pairs)
    return all(requirement.verdict(summaries).holds for requirement in requirements)


def _example(task: ModelPair) -> str:
    """Return an example of a preset that both inputs can hold, for the message; empty if there is none."""
    return next((f" (for example -p {name})" for name in alternatives(task.reference, task.candidate)), "")
