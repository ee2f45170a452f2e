"""Doubt about a verdict: the inputs of the two models differ, or a guessed preprocessing decides what is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

from onnxcam.compare.agreement import MAP_METRICS
from onnxcam.compare.array_inputs import is_array
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.inputs import (
    ImageModel,
    InputDifference,
    alternatives,
    difference,
    is_open,
    preset_of,
    presets,
    using,
)
from onnxcam.compare.outcome import Prediction
from onnxcam.compare.pipeline import LoadedImage, ModelPair
from onnxcam.compare.summary import completed, summarise
from onnxcam.compare.thresholds import Requirement
from onnxcam.media import image as pictures

__all__ = ["PROBED", "InputTrials", "try_inputs"]

PROBED = 8
"""Number of images on which other preprocessings are tried."""


@dataclass(frozen=True)
class InputTrials:
    """Trials of other preprocessings on the first readable images, so that a verdict can be doubted.

    Attributes:
        requirements: What is required of them.
        differing: How the inputs of both models differ; None if they do not.
        guess: Name of the preprocessing, if nothing but convention suggests it; otherwise empty.
        others: Names of others, and whether the requirements hold with each; of `try_inputs`, tried on access.
        advice: Function that returns what to do about *differing*, to end a message.
    """

    requirements: Sequence[Requirement]
    differing: InputDifference | None
    guess: str
    others: Iterable[tuple[str, bool]]
    advice: Callable[[], str]

    def doubt(self, probed: Sequence[ImageComparison], prediction: type[Prediction], holds: bool) -> str:
        """Return why the requirements say nothing about the candidate, and what to do; empty if they do.

        *probed* are the comparisons of the images, and *holds* says whether the requirements hold on all images.
        """
        if self.differing is not None:
            if self._intended or holds:
                return ""
            return f"the two models get different inputs: {self.differing.words}; state the right preprocessing" + (
                self.advice()
            )
        if not self.guess:
            return ""
        summaries = summarise(completed(probed, prediction))
        present = all(requirement.verdict(summaries).holds for requirement in self.requirements)
        for name, other in self.others:
            if other != present:
                words = ("fail", "hold")
                return (
                    f"the preprocessing is a guess that decides the verdict: on the first {len(probed)} images the "
                    f"requirements {words[present]} with {self.guess} (the guess), and {words[other]} with {name}; "
                    f"state the right one with --preprocess, such as -p {self.guess} or -p {name}"
                )
        return ""

    @property
    def _intended(self) -> bool:
        return self.differing is None or self.differing.intended

    def as_dict(self) -> dict[str, Any]:
        """Try all there is to try, and return it as JSON."""
        return {
            "requirements": [asdict(one) for one in self.requirements],
            "differing": None if self.differing is None else asdict(self.differing),
            "guess": self.guess,
            "others": [list(one) for one in self.others],
            "advice": "" if self._intended else self.advice(),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Return the trials in *entry*, the inverse of `as_dict`."""
        differing, advice = entry["differing"], str(entry["advice"])
        return cls(
            requirements=[Requirement(**one) for one in entry["requirements"]],
            differing=None if differing is None else InputDifference(**differing),
            guess=entry["guess"],
            others=[(name, holds) for name, holds in entry["others"]],
            advice=lambda: advice,
        )


def try_inputs(task: ModelPair, images: Sequence[str], requirements: Sequence[Requirement]) -> InputTrials:
    """Return trials of both models of *task* on *images*, the first readable ones, which run on access."""
    tried = [one for one in requirements if not one.total]
    if task.reference.black_box:  # other preprocessings are tried on the predictions alone: maps take too long
        tried = [one for one in tried if one.metric not in MAP_METRICS]
    if not images or any(is_array(seen.network, images[0]) for _, seen in task.sides):
        return InputTrials(tried, None, "", (), lambda: "")
    differing = difference(task.reference, task.candidate, pictures.read(images[0]))
    guess = preset_of(task.reference) if differing is None and is_open(task.reference, task.candidate) else ""
    others = _others(task, images, tried) if guess else ()
    return InputTrials(tried, differing, guess, others, partial(_advice, task, images, tried))


def _others(task: ModelPair, images: Sequence[str], requirements: Sequence[Requirement]) -> Iterator[tuple[str, bool]]:
    """Yield the names of other preprocessings, and whether *requirements* hold with each."""
    sides = [task.reference, task.candidate]
    for name, preprocessings in alternatives(*sides).items():
        with using(sides, preprocessings):
            holds = _hold(task, images, requirements)
        yield name, holds


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
    with _without_maps(task) if task.reference.black_box else nullcontext():
        pairs = [task.compare(one, *pair) for one, pair in zip(loaded, task.ask(loaded), strict=True)]
    summaries = summarise(completed(pairs, task.reference.prediction))
    return all(requirement.verdict(summaries).holds for requirement in requirements)


@contextmanager
def _without_maps(task: ModelPair) -> Iterator[None]:
    """Let both models explain nothing."""
    before = [(seen, seen.objects) for _, seen in task.sides]
    try:
        for seen, _ in before:
            seen.objects = 0
        yield
    finally:
        for seen, count in before:
            seen.objects = count
