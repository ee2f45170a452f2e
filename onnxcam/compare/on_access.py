"""Sequences whose items are made on access, so that memory holds one of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, overload

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Annotation, Truth

__all__ = ["OnAccess", "true_annotations"]

T = TypeVar("T")


@dataclass(frozen=True)
class OnAccess(Sequence[T], Generic[T]):
    """*length* items; item number k is ``make(k)``."""

    make: Callable[[int], T]
    length: int

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> list[T]: ...

    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return [self.make(one) for one in range(*at.indices(self.length))]
        if not -self.length <= at < self.length:
            raise IndexError(at)
        return self.make(at % self.length)


def true_annotations(comparisons: Sequence[ImageComparison], truth: Truth) -> Sequence[Annotation | None]:
    """Return the truth of each image."""

    def of(number: int) -> Annotation | None:
        pair = comparisons[number]
        return truth.annotation(pair.picture, pair.size)

    return OnAccess(of, len(comparisons))
