"""From a verdict to its cause: the diagnosis of a validation, from its worst images."""

from __future__ import annotations

from typing import Any

from onnxcam.compare.array_inputs import takes_arrays
from onnxcam.compare.observer import Observer
from onnxcam.compare.report.table import result_table
from onnxcam.compare.validation import Validation
from onnxcam.diagnosis.diagnose import MOST, Subject
from onnxcam.diagnosis.report import folder
from onnxcam.errors import OnnxcamError
from onnxcam.graph.io import ModelLike
from onnxcam.paths import PathLike
from onnxcam.progress import Progress, quiet

__all__ = ["add_diagnosis"]


def add_diagnosis(
    found: Validation,
    reference: ModelLike,
    candidate: Observer,
    directory: PathLike,
    *,
    target: int | str = "top",
    most: int = MOST,
    progress: Progress = quiet,
) -> None:
    """Add to *found* which quantised tensors make the *candidate* differ, and write their report to *directory*.

    If the candidate cannot be diagnosed, a warning of *found* says why.

    Args:
        found: The validation.
        reference: The float model.
        candidate: The candidate, as it was validated.
        directory: Folder of the reports.
        target: What is explained.
        most: Number of images, the worst first.
        progress: Wraps the images and their number.
    """
    listed = result_table(found.journal)
    images = [found.journal[at].picture for at in listed.order[:most]]
    try:
        subject = Subject.open(reference, candidate.model, images, most, **_options(candidate))
        diagnosis = subject.diagnosis(target, progress)
        folder.save(diagnosis, subject, candidate.model, directory, target)
    except OnnxcamError as error:
        found.warnings = [*found.warnings, f"no diagnosis: {error}"]
        return
    found.diagnosis = diagnosis.as_dict()


def _options(candidate: Observer) -> dict[str, Any]:
    """Return the options of the *candidate*, and the preprocessing that it was validated with."""
    names = ("method", "layer", "labels", "provider", "settings", "inputs", "objects")
    how = candidate.preprocess if takes_arrays(candidate.network) else candidate.network.preprocessing
    return {**{name: getattr(candidate, name) for name in names}, "preprocess": how}
