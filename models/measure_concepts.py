"""How often a concept has the class of the shape that it lies on: `python -m models.measure_concepts [NETWORK…]`.

Of held-out scenes, the concepts whose map has its peak on a shape. docs/decisions/0034-more-methods.md has the figures.
"""

from __future__ import annotations

import sys

import numpy as np

from models.family import HELD_OUT
from models.tasks import task
from onnxcam import Explainer

NETWORKS = ("classifier", "classifier_fc", "classifier_vit")
SCENES, COUNTS = 60, (3, 5)


def measure(name: str, count: int) -> tuple[int, int]:
    """Return how many of *count* concepts of each scene lie on a shape, and how many of these have its class."""
    network, on, right = task(name), 0, 0
    explainer = Explainer(network.path, method="dff", provider="cpu", **network.options)
    for number in range(SCENES):
        scene = network.scene(np.random.default_rng((HELD_OUT, number)))
        found = explainer.concepts(scene.image, count)
        for concept, heat in zip(found.concepts, found.maps, strict=True):
            peak = np.unravel_index(int(heat.argmax()), heat.shape)
            shapes = [one.label for one in scene.objects if one.mask[peak]]
            on += bool(shapes)
            right += concept.label in shapes
    return on, right


if __name__ == "__main__":
    for name in sys.argv[1:] or NETWORKS:
        for count in COUNTS:
            on, right = measure(name, count)
            print(f"{name}, {count} concepts: {right} of {on} have the class of their shape, {right / on:.0%}")
