"""`Span`: one spatial axis of a tensor, as a part of one axis of the image tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Span", "Tracked"]


@dataclass(frozen=True)
class Span:
    """One axis of a tensor: cells of equal length, some of them padding, along one axis of the image tensor.

    Attributes:
        source: The image's spatial axis, 0 for height.
        start: The pixel where the first cell that is no padding begins.
        end: The pixel where the last one ends; it is smaller than *start* for a mirrored axis.
        length: The number of cells, padding included.
        seen: The pixels, (lowest, highest), of which the tensor holds something.
        axis: The tensor's axis; None where the axes of the image have been merged or cannot be followed.
        before: The number of cells of padding at the begin.
        after: The number at the end.
    """

    source: int
    start: float
    end: float
    length: int
    seen: tuple[float, float]
    axis: int | None = None
    before: int = 0
    after: int = 0

    @classmethod
    def whole(cls, source: int, axis: int, length: int) -> Span:
        """Return an axis of the image tensor itself."""
        return cls(source, 0.0, float(length), length, (0.0, float(length)), axis)

    @property
    def cell(self) -> float:
        """The length of a cell in pixels; negative for a mirrored axis."""
        return (self.end - self.start) / max(1, self.length - self.before - self.after)

    @property
    def ends(self) -> tuple[float, float]:
        """The pixels where the first cell begins and the last one ends, padding included."""
        return self.at(0), self.at(self.length)

    def at(self, index: float) -> float:
        """Return the pixel at *index*; the first cell reaches from index 0 to 1."""
        return self.start + (index - self.before) * self.cell

    def window(self, first: float, step: float, count: int) -> Span:
        """Return the axis of *count* cells, each *step* of these long; the first begins at index *first*.

        Cells that cover this axis to within a step are spread evenly over it, as in a convolution of any padding.
        """
        low, high = sorted((first, first + step * count))
        size = abs(step)
        if abs(low - self.before) < size and abs(high - (self.length - self.after)) < size:
            start, end = (self.start, self.end) if step > 0 else (self.end, self.start)
        else:
            start, end = self.at(first), self.at(first + step * count)
        return replace(self, start=start, end=end, length=count, before=0, after=0)

    def part(self, first: float, step: float, count: int) -> Span:
        """Return the axis of cells selected from this one, as `window`; the rest is not seen any more."""
        made = self.window(first, step, count)
        low, high = sorted(made.ends)
        return replace(made, seen=(max(low, self.seen[0]), min(high, self.seen[1])))

    def padded(self, before: int, after: int) -> Span:
        """Return the axis with more cells at its ends, or fewer for negative numbers."""
        if before < 0 or after < 0:
            return self.part(-before, 1, self.length + before + after)
        length = self.length + before + after
        return replace(self, length=length, before=self.before + before, after=self.after + after)

    def scaled(self, length: int) -> Span:
        """Return the axis resized to *length* cells."""
        start, end = self.ends
        return replace(self, start=start, end=end, length=length, before=0, after=0)

    def loose(self) -> Span:
        """Return the axis where the tensor's axis cannot be followed."""
        return replace(self.scaled(self.length), axis=None)

    def agrees(self, other: Span) -> bool:
        """Whether both lie at one place, to within a cell, in one direction."""
        slack = max(abs(self.cell), abs(other.cell))
        return self.source == other.source and all(
            abs(a - b) <= slack for a, b in zip(self.ends, other.ends, strict=True)
        )


@dataclass(frozen=True)
class Tracked:
    """The spans of a tensor, in the order of its axes as far as known.

    Attributes:
        spans: One for each axis of the image.
        lost: Why they may be wrong.
        varies: A run on one image does not show them: they depend on its content, or are several.
        warped: They are wrong for sure, as they stand.
    """

    spans: tuple[Span, ...]
    lost: str = ""
    varies: bool = False
    warped: bool = False

    def moved(self, axes: dict[int, int]) -> Tracked:
        """Return the spans with other axes, by old axis; axes that are not in *axes* cannot be followed."""
        return replace(
            self,
            spans=tuple(
                replace(span, axis=axes[span.axis]) if span.axis in axes else span.loose() for span in self.spans
            ),
        )

    def loose(self) -> Tracked:
        """Return the spans, in the order of their axes, where the tensor's axes cannot be followed."""
        known = all(span.axis is not None for span in self.spans)
        spans = sorted(self.spans, key=lambda span: span.axis or 0) if known else self.spans
        return replace(self, spans=tuple(span.loose() for span in spans))

    def on(self, axis: int, span: Span) -> Tracked:
        """Return the spans with another one on *axis*."""
        return replace(self, spans=tuple(span if old.axis == axis else old for old in self.spans))

    def but(self, why: str, *, varies: bool = False) -> Tracked:
        """Return the spans, and why they may be wrong."""
        return replace(self, lost=self.lost or why, varies=self.varies or varies)
