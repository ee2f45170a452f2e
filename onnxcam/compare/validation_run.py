"""Run of a validation: the two models and the images, checked, and the comparison of some or all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxcam.compare import checks
from onnxcam.compare.inputs import settle
from onnxcam.compare.journal import Journal, open_journal
from onnxcam.compare.layer_agreement import LayerAgreement
from onnxcam.compare.layers import compare_layers
from onnxcam.compare.observer import Observer, require_classifier
from onnxcam.compare.pipeline import LoadedImage, ModelPair, of_side, run
from onnxcam.compare.text_sides import settle_texts
from onnxcam.compare.thresholds import parse
from onnxcam.compare.validation_scope import ValidationScope
from onnxcam.errors import MetricError, OnnxcamError
from onnxcam.explainer.named_files import hashes, named_by
from onnxcam.graph.io import ModelLike
from onnxcam.media import image as pictures
from onnxcam.media.video import frames_of
from onnxcam.metrics.evaluation_run import require_scipy
from onnxcam.metrics.truth import Truth
from onnxcam.model.signals import SignalChoice
from onnxcam.numbers import largest_setting, parse_int
from onnxcam.paths import PathLike
from onnxcam.pipeline import default_jobs
from onnxcam.progress import Progress, Told, quiet, untold
from onnxcam.shards import Shard, list_identity, picture_ids

__all__ = ["BATCH", "MAX_JOBS", "ValidationRun", "observing"]

BATCH = 8
MAX_JOBS = 256


@dataclass(frozen=True)
class ValidationRun:
    """Two models, images and requirements that fit each other.

    Attributes:
        task: Both models, and what to compare.
        names: All images.
        scope: What is compared with what.
        batch_size: Images per pass.
        jobs: Threads that read images.
        progress: Progress callback.
        told: Takes each comparison in words.
    """

    task: ModelPair
    names: Sequence[str]
    scope: ValidationScope
    batch_size: int
    jobs: int
    progress: Progress
    told: Told = untold

    @classmethod
    def of(
        cls,
        reference: ModelLike | Observer,
        candidate: ModelLike | Observer,
        images: PathLike | Sequence[PathLike],
        *,
        target: int | str = "top",
        truth: PathLike | Truth | None = None,
        require: str | None = None,
        strict: bool = False,
        batch_size: int = BATCH,
        jobs: int | None = None,
        frames: int | str | None = None,
        progress: Progress = quiet,
        told: Told = untold,
        **options: Any,
    ) -> ValidationRun:
        """Return the run with the arguments of `onnxcam.compare.validate.validate`; raise its errors."""
        _require_counts(batch_size, jobs)
        require_scipy("validate", "edge")
        stated = None if require is None else parse(require)
        names, warnings = _pictures([images] if isinstance(images, str | os.PathLike) else images, frames)
        known = Truth(truth) if isinstance(truth, str | os.PathLike) else truth
        first, second = (
            given if isinstance(given, Observer) else observing(side, given, **options)
            for side, given in (("reference", reference), ("candidate", candidate))
        )
        requirements = parse(first.prediction.defaults) if stated is None else stated
        checks.require_comparable(first, second, requirements, known)
        for seen in (first, second):
            seen.network.guess_by(names)
        warnings += settle_texts(first.network, second.network)
        only = first.only(target)
        warnings += _settled(first, second)
        task = ModelPair(first, second, known, target, strict, only)
        several = 1 if first.black_box or second.black_box else batch_size  # a map takes long: each image is kept
        labels = first.class_names or second.class_names
        infos = first.info, second.info
        scope = ValidationScope(
            *infos, len(names), requirements, str(target), only, labels, first.prediction, known, warnings
        )
        return cls(task, names, scope, several, jobs or default_jobs(), progress, told)

    def compare(self, directory: PathLike | None, overwrite: bool, shard: Shard | None = None) -> Journal:
        """Compare the images of *shard*, None for all, and return their comparisons.

        The journal is a file in *directory*, or temporary; images that it holds already are not compared again.
        """
        identity = self._identity()
        if shard is not None:
            identity |= {"batch size": self.batch_size, "shard": str(shard)}
        journal = open_journal(directory, identity, overwrite, self.names)
        try:
            run(self.task, self.names, self.blocks(shard or Shard()), journal, self.jobs, self.progress, self.told)
        except BaseException as error:
            kept = _kept(journal, len(self.names), directory)
            journal.leave()
            if isinstance(error, OnnxcamError):
                raise type(error)(f"{error}{kept}") from error
            raise
        journal.release()
        return journal

    def blocks(self, shard: Shard) -> list[range]:
        """Return the numbers of the images of *shard*, batch by batch."""
        return shard.blocks(picture_ids(self.names), self.batch_size)

    @property
    def warnings(self) -> list[str]:
        """Warnings of both models, by their sides."""
        return [f"{side}: {one}" for side, seen in self.task.sides for one in seen.network.warnings]

    def readable(self, count: int) -> list[str]:
        """Return the first *count* of all images that can be read."""
        found: list[str] = []
        for name in self.names:
            if len(found) < count and isinstance(self.task.load(name), LoadedImage):
                found.append(name)
        return found

    def layers(self, images: Sequence[str]) -> list[LayerAgreement]:
        """Return the agreement at each common layer, on *images*, at most `MAX_IMAGES`."""
        first, second = self.task.reference, self.task.candidate
        require_classifier(first, "--layers")
        return compare_layers(first, second, images, first.index(self.task.target))

    def _identity(self) -> dict[str, Any]:
        """Return the identity of the validation: a journal resumes only if it is the same."""
        truth = self.task.truth
        found: dict[str, Any] = {"target": self.scope.target, "truth": None if truth is None else str(truth.path)}
        if truth is not None:
            found["mask values"] = truth.values
        for side, seen in self.task.sides:
            of = seen.info
            found |= {
                f"{side} {name}": getattr(of, name) for name in ("sha256", "method", "layer", "preprocess", "provider")
            }
            found[f"{side} settings"] = {name: str(value) for name, value in seen.settings.items()}
            if seen.network.signals != SignalChoice():
                found[f"{side} signals"] = str(seen.network.signals)
            if seen.network.text_tower is not None:
                found[f"{side} text tower"] = seen.network.text_tower.digest
        if files := hashes(named_by(self.task.target, self.scope.labels)):
            found["files"] = files
        return found | {"pictures": list_identity(self.names)}


def observing(side: str, model: ModelLike, **options: Any) -> Observer:
    """Open *model*; errors name its *side*, "reference" or "candidate"."""
    try:
        return Observer(model, **options)
    except OnnxcamError as error:
        raise of_side(side, model, error) from error


def _settled(first: Observer, second: Observer) -> list[str]:
    """Let both models read images and explain alike; return warnings. MetricError if they cannot."""
    if first.maps != second.maps:
        raise MetricError(
            f"maps come from {first.maps} of the reference and {second.maps} of the candidate: choose one"
        )
    warnings = settle(first, second)
    if first.reads_outputs or second.reads_outputs:  # both alike
        first.read_outputs()
        second.read_outputs()
    return warnings


def _require_counts(batch_size: int, jobs: int | None) -> None:
    """Raise MetricError if either number is out of range."""
    for name, count, high in (
        ("batch size", batch_size, largest_setting("batch_size")),
        ("number of jobs", jobs, MAX_JOBS),
    ):
        if count is not None and parse_int(count, 1, high) is None:
            raise MetricError(f"the {name} is a whole number from 1 to {high}, not {count}")


def _pictures(images: Sequence[PathLike], frames: int | str | None) -> tuple[list[str], list[str]]:
    """Return the image files and the *frames* of videos without duplicates, and warnings about both."""
    found = pictures.files(images)
    once = {os.path.realpath(name): name for name in reversed(found)}
    names = [name for name in dict.fromkeys(found) if once[os.path.realpath(name)] == name]
    twice = len(found) - len(names)
    names, warnings = frames_of(names, frames)
    return names, [f"{twice} of the {len(found)} images are duplicates; each counts once"] * bool(twice) + warnings


def _kept(journal: Journal, total: int, directory: PathLike | None) -> str:
    """Return the end of an error message: how many images are kept."""
    if not len(journal) or directory is None:
        return ""
    return f"; {len(journal)} of {total} images are done and kept in '{directory}': repeat the command to resume"
