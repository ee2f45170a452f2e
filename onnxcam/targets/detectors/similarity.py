"""The similarity of a detector's proposals to one detection, as D-RISE defines it (2006.03204)."""

from __future__ import annotations

import numpy as np

from onnxcam.targets.detectors.boxes import overlaps
from onnxcam.targets.detectors.candidates import Candidates
from onnxcam.targets.goal import Array

__all__ = ["similarity"]


def similarity(seen: Candidates, corners: Array, classes: Array) -> float:
    """Return max_j IoU · cosine · objectness over the boxes j of *seen*.

    The detection has the *corners* [4] and the class probabilities *classes* [C]; a model that selects its detections
    may show fewer or more classes in another run. Without an objectness it is the largest class probability.
    """
    if not len(seen.scores):
        return 0.0
    scores = seen.scores
    shared = min(len(classes), scores.shape[1])
    lengths = np.linalg.norm(scores, axis=1) * np.linalg.norm(classes)
    cosine = scores[:, :shared] @ classes[:shared] / np.maximum(lengths, 1e-30)
    sure = scores.max(axis=1, initial=0) if seen.objectness is None else seen.objectness
    return float((overlaps(seen.corners, corners) * cosine * sure).max())
