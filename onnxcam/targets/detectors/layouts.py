"""The registry of layouts: the rules that find a decoder, in the order in which they are tried.

1. `suppression`: the inputs of NonMaxSuppression, [N, C, B] and [N, B, 4].
2. `table`, `kept`: the outputs of a graph that suppresses or sorts by itself.
3. `heads`: scores and boxes for each of several grids.
4. `pair`: scores [N, B, C] beside boxes [N, B, 4].
5. `yolo`: boxes and scores in one tensor.
"""

from __future__ import annotations

from collections.abc import Callable

from onnxcam.targets.detectors.candidates import Decoder
from onnxcam.targets.detectors.clues import Clues
from onnxcam.targets.detectors.head_layouts import heads
from onnxcam.targets.detectors.pairs import pair
from onnxcam.targets.detectors.suppressed import kept, suppression
from onnxcam.targets.detectors.tables import table
from onnxcam.targets.detectors.yolo import yolo

__all__ = ["LAYOUTS", "find_decoder"]

LAYOUTS: list[Callable[[Clues], Decoder | None]] = [suppression, table, kept, heads, pair, yolo]
"""A rule per layout; the first that fits decides."""


def find_decoder(clues: Clues) -> Decoder | None:
    """Return the decoder for the detections of a model; None if it does not look like a detector."""
    return next((decoder for layout in LAYOUTS if (decoder := layout(clues)) is not None), None)
