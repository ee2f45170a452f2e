"""What `tools.methods_page` measures: the inferences of a method, and the method of a task.

Both are counts and names, which no load of a machine changes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import onnxcam
from onnxcam.engine import Session
from onnxcam.errors import GradientError, OnnxcamError

ASSETS = Path(__file__).parents[1] / "onnxcam" / "assets"


@contextmanager
def counting() -> Iterator[list[int]]:
    """Within, count the rows that sessions run."""
    counts, run = [], Session.run

    def counted(self: Session, feeds: Any, outputs: Sequence[str] | None = None) -> Any:
        counts.append(len(next(iter(feeds.values()))))
        return run(self, feeds, outputs)

    Session.run = counted  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        Session.run = run  # type: ignore[method-assign]


def runs(method: str) -> int | None:
    """Return how many inferences the demo's network runs for one map; None where *method* does not apply."""
    try:
        explainer = onnxcam.Explainer(ASSETS / "shapes.onnx", method=method)
        picture = explainer.prepare(ASSETS / "shapes_1.png")
        with counting() as counts:
            explainer(picture, 0)
    except OnnxcamError:
        return None
    return sum(counts)


def default(network: str) -> str:
    """Return the method that explains a network's target unless one is named; "" where it refuses."""
    from models.family import HELD_OUT  # needs PyTorch, as training does
    from models.measure import explain_sample
    from models.tasks import task

    found = task(network)
    explainer = onnxcam.Explainer(found.path, **found.options)
    with tempfile.TemporaryDirectory() as folder, suppress(GradientError):
        return explain_sample(explainer, next(iter(found.samples(HELD_OUT, 1))), Path(folder)).method
    return ""
