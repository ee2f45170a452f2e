"""Which shapes are in the picture: the instrument of `onnxcam demo`, whose last channels are averaged (GAP)."""

from __future__ import annotations

import numpy as np

from models.family import Sample, everything, shapes
from models.tasks.classifier_fc import Classifier
from models.train_shapes import ASSETS, METADATA, SIZE, Shapes
from models.world import LABELS, Scene
from onnxcam.metadata.card import Card


class Instrument(Classifier):
    """The same question as `classifier_fc`, in larger pictures; `train_shapes.py` trains it and tells where to look."""

    card = Card("multi-label", str(METADATA["preprocess"]), LABELS)
    path = ASSETS / "shapes.onnx"
    floor = 0.98
    network = Shapes

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one to four shapes."""
        return shapes(rng, SIZE)

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """A class that is there."""
        one = str(rng.choice(sorted(scene.labels)))
        return Sample({"image": scene.image}, one, scene.mask(one), everything(scene))


TASK = Instrument()
