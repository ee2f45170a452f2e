"""Outcome of one model for one image: its prediction, and the maps of what was explained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.prediction_arrays import packed, unpacked
from onnxcam.compare.slices import SliceItem, TruthScores
from onnxcam.media.frame import Covered
from onnxcam.media.image import RgbImage
from onnxcam.targets.notation import Corners

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = ["FEW", "Agreement", "Answer", "ModelInfo", "ObjectMap", "Outcome", "Prediction"]


FEW = 5
"""With this many images or fewer, a constant prediction or no correct prediction is no cause for a warning."""


@dataclass(frozen=True)
class ModelInfo:
    """Description of one model for reports."""

    name: str
    sha256: str
    kind: str  # data type of the weights: "float32", "int8", …
    method: str
    layer: str | None
    preprocess: str
    provider: str
    preprocess_source: str = ""  # how it is known, a key of `onnxcam.metadata.reading.SOURCES`; "" if not recorded


@dataclass(frozen=True)
class Answer:
    """What a model says of an image, for reports: in words, with a probability if there is one, and as JSON."""

    words: str
    confidence: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Agreement:
    """Agreement of two predictions.

    Attributes:
        values: Values of metrics by id; NaN if one cannot be measured.
        notes: Reasons why others cannot be measured.
        details: Further results for `onnxcam.compare.tasks`, as JSON.
    """

    values: dict[str, float]
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


class Prediction(ABC):
    """What a model predicts for one image, and how it is compared with another prediction. One subclass for each task.

    Attributes:
        task: The task, a value of `task` in a card (docs/card.md).
        metrics: Ids of `AGREEMENT_METRICS` that `compare` measures.
        truth_metrics: Ids of `AGREEMENT_METRICS` that `accuracy` measures by the ground truth.
        slice_metrics: Ids of those that are measured by class and size; the first one counts the objects.
        defaults: Default requirements, see `onnxcam.compare.thresholds`.
        forms: Form of each field as an array of a recording, see `onnxcam.compare.prediction_arrays`.
        shared: Fields that are equal for all images of a model; a recording holds them with its first image.
    """

    task: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    truth_metrics: ClassVar[tuple[str, ...]] = ()
    slice_metrics: ClassVar[tuple[str, ...]] = ()
    defaults: ClassVar[str]
    forms: ClassVar[Mapping[str, str]] = {}
    shared: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the prediction for reports; *names* are those of the classes."""

    @abstractmethod
    def compare(self, candidate: Self) -> Agreement:
        """Compare with the prediction of a candidate.

        Raises:
            MetricError: the two cannot be compared.
        """

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the prediction as the arrays of a recording."""
        return packed(vars(self), self.forms)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the prediction in the *arrays* of a recording, which anyone may have written.

        Raises:
            ValueError: the arrays are not those of such a prediction.
        """
        optional = [one.name for one in fields(cls) if one.default is not MISSING]  # type: ignore[arg-type]
        return cls(**unpacked(arrays, cls.forms, optional))

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return warnings, and findings over all images; *names* are those of the classes.

        Raises:
            MetricError: the images say nothing.
        """
        return []

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores | None:
        """Return the accuracy of reference and candidate over all images, by the *truth*.

        None if there is no such measure for the task. *only* is the class that is compared, if one is.

        Raises:
            TruthError: the truth does not fit the models.
        """
        return None

    @classmethod
    def require_truth(cls) -> None:
        """Raise MetricError if a library that `accuracy` needs is not installed."""
        return

    @classmethod
    def slice_items(cls, comparison: ImageComparison) -> Iterator[SliceItem]:
        """Yield the objects of the reference in one image, for slices by class and size (`slice_metrics`)."""
        yield from ()

    def only(self, index: int) -> Self:
        """Return the prediction with the objects of class *index* alone."""
        raise NotImplementedError

    def drawing(self, reference: Self) -> RgbImage | None:
        """Return a small image of the prediction, on the scale of the *reference*'s; None if it is not drawn."""
        return None

    @classmethod
    def over_all(cls, comparisons: Sequence[ImageComparison]) -> Mapping[str, Sequence[float]]:
        """Return metrics of each image that can be measured over all images only, by id; NaN if one cannot be."""
        return {}

    @property
    def in_units(self) -> bool:
        """Return whether the scores are real numbers, so that maps have a common scale with those of others."""
        return True


@dataclass(frozen=True)
class ObjectMap:
    """Map of one explained thing: a class, a detection, a letter.

    Attributes:
        target: What is explained, a target in words (docs/targets.md).
        index: Class of it; None if it has none.
        map: Raw map, float32 [h, w], of a volume [d, h, w], neither normalised nor enlarged; for maps of the input's
            shape, the largest magnitude over the channels. None if there is no map.
        why: Reason for a missing map.
        score: Score of the explained thing, a probability if the model gives one.
        box: Its box in pixels of the image; None if it has none.
    """

    target: str
    index: int | None
    map: NDArray[np.float32] | None
    why: str = ""
    score: float | None = None
    box: Corners | None = None

    @property
    def subject(self) -> str:
        """What is explained, for messages."""
        return f"class {self.index}" if self.target == f"#{self.index}" else self.target


@dataclass(frozen=True)
class Outcome:
    """Outcome of one model for one image, computed now or read from a recording.

    Attributes:
        picture: Path of the image, as given; its id in reports.
        sha256: SHA-256 of the image file.
        size: (H, W) of the image; (1, T) of a signal, (D, H, W) of a volume.
        prediction: What the model predicts.
        maps: Map of each explained thing; of a classifier one, that of a class.
        frame: Part of the image that the maps cover; None for the whole image.
        spacing: Millimetres from voxel to voxel along each axis of a volume; None if unknown, or no volume.
    """

    picture: str
    sha256: str
    size: tuple[int, ...]
    prediction: Prediction
    maps: tuple[ObjectMap, ...]
    frame: Covered | None = None
    spacing: tuple[float, ...] | None = None

    @property
    def target(self) -> int | None:
        """Class of the first explained thing; None if there is none."""
        return self.maps[0].index if self.maps else None

    @property
    def map(self) -> NDArray[np.float32] | None:
        """Map of the first explained thing; None if there is none."""
        return self.maps[0].map if self.maps else None
