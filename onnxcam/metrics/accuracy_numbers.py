"""Error of numbers, by the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onnxcam.errors import TruthError
from onnxcam.metrics.accuracy import check_lengths
from onnxcam.metrics.truth.annotation import Annotation

__all__ = ["NumberError", "number_error"]


@dataclass(frozen=True)
class NumberError:
    """Error of numbers.

    Attributes:
        mean: Mean absolute error over images and numbers.
        by_number: Mean absolute error of each number.
        images: Number of images with truth.
    """

    mean: float
    by_number: tuple[float, ...]
    images: int


def number_error(predictions: Sequence[ArrayLike], annotations: Sequence[Annotation | None]) -> NumberError:
    """Return the mean absolute error of the numbers *predictions*.

    Args:
        predictions: Numbers of each image [K].
        annotations: Truth of each image; None or no numbers: the image is left out.

    Raises:
        TruthError: no image has numbers, or an image has more or fewer numbers than the model puts out.

    Example:
        >>> number_error([[1.0, 2.0]], [Annotation(numbers=(1.5, 2.0))]).mean
        0.25
    """
    check_lengths(predictions, annotations)
    errors = []
    for one, annotation in zip(predictions, annotations, strict=True):
        if annotation is None or not annotation.numbers:
            continue
        found, true = np.asarray(one, np.float64).reshape(-1), np.array(annotation.numbers)
        if len(found) != len(true):
            raise TruthError(f"the truth has {len(true)} numbers of an image, the model puts out {len(found)}")
        errors.append(np.abs(found - true))
    if not errors:
        raise TruthError("the truth has no numbers of any image; give a CSV with columns of numbers")
    each = np.mean(errors, axis=0)
    return NumberError(float(each.mean()), tuple(each.tolist()), len(errors))
