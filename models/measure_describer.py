"""How often the maps of words are right: `python -m models.measure_describer [METHOD…]` (docs/decoders.md).

For scenes that the describer never saw, each word of a true sentence of two objects is explained. *Pointing*: how often
the peak of its map lies on the object that the word speaks of; *energy*: the share of the map there. Only colours and
shapes count, whose object is one of two. Beside the methods the raw attention of the decoder, from the place that says
the word to the tokens of the image, and *chance*.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.family import HELD_OUT, SIZE
from models.tasks.captioner import TASK as CAPTIONER
from models.tasks.captioner import Told
from models.train_describer import CELLS, HERE, IMAGE
from onnxcam import Explainer
from onnxcam.decoders.load import join
from onnxcam.engine import Session
from onnxcam.graph.io import all_tensors
from onnxcam.media import heatmap
from onnxcam.metadata.prompting import PROMPT, TEXT_TOKENS
from onnxcam.metrics.localisation import energy_pointing, pointing_game

SCENES = 100
METHODS = (
    "attnlrp",
    "attention-x-gradient",
    "gradient",
    "gradient-x-input",
    "integrated-gradients",
    "gradcam",
    "hirescam",
    "layercam",
)
Maps = list[np.ndarray]


@dataclass(frozen=True)
class Row:
    """What one way to make maps achieves."""

    name: str
    pointing: float
    energy: float
    words: int
    seconds: float


def scenes(count: int) -> Iterator[Told]:
    """Yield held-out scenes of two objects."""
    number = 0
    while count:
        scene = CAPTIONER.scene(np.random.default_rng([HELD_OUT, number]))
        number += 1
        if len(scene.scene.objects) == 2:
            count -= 1
            yield scene


def text(scene: Told) -> str:
    """Return the sentence."""
    return " ".join(word for word, _ in scene.words)


def by_method(method: str, layer: str | None = None) -> Callable[[Told], Maps]:
    """Return the maps of a method of onnxcam."""
    explainer = Explainer(join(HERE), method=method, layer=layer, provider="cpu")
    return lambda scene: [one.map for one in explainer.each(scene.scene.image, f'text="{text(scene)}"')]


def by_attention(last: bool) -> Callable[[Told], Maps]:
    """Return the decoder's attention to the image, the mean over heads: of the *last* layer, else of all."""
    model = join(HERE)
    explainer = Explainer(model, method="gradient", provider="cpu")
    names = [node.outputs[0].name or "" for node in model.graph if node.op_type == "Softmax"]
    tensors = all_tensors(model.graph)
    model.graph.outputs[:] = [tensors[name] for name in names if name.startswith("decoder.")]
    session = Session(model, "cpu")
    task = explainer.network.task
    first = task.prompting.prompt.index(IMAGE)

    def maps(scene: Told) -> Maps:
        words = task.subwords.split(text(scene))
        feeds = {"pixel_values": explainer.prepare(scene.scene.image).tensor, **task.prompting.inputs}
        feeds[TEXT_TOKENS] = np.array([words.ids], np.int64)
        found = [y[0].mean(0) for y in session.run(feeds).values()]
        weights = found[-1] if last else np.mean(found, 0)
        before = feeds[PROMPT].shape[1] - 1  # the place that says the first word
        rows = [weights[before + own[0], first : first + CELLS].reshape(SIZE // 8, -1) for own in words.places]
        return [cv2.resize(row.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) for row in rows]

    return maps


def measure(name: str, maps: Callable[[Told], Maps], told: Sequence[Told]) -> Row:
    """Return how right the *maps* of the scenes are."""
    start, points, energies = time.process_time(), [], []
    for scene in told:
        for (_, objects), heat in zip(scene.words, maps(scene), strict=True):
            if len(objects) == 1:
                points.append(pointing_game(heat, objects[0].mask, tolerance=0))
                energies.append(energy_pointing(heatmap.normalize(heat), objects[0].mask))
    seconds = (time.process_time() - start) / len(points)
    return Row(name, float(np.mean(points)), float(np.mean(energies)), len(points), seconds)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Measure the maps of words.")
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--layer", help="of CAM methods")
    parser.add_argument("--scenes", type=int, default=SCENES)
    options = parser.parse_args()
    told = list(scenes(options.scenes))
    area = [thing.mask.mean() for scene in told for _, things in scene.words if len(things) == 1 for thing in things]
    print("| maps | pointing, % | energy, % | CPU s a word |\n| --- | ---: | ---: | ---: |")
    print(f"| chance | {100 * np.mean(area):.1f} | {100 * np.mean(area):.1f} | |")
    ways = {"attention, last layer": by_attention(True), "attention, mean of layers": by_attention(False)}
    for name in (*ways, *options.methods):
        row = measure(name, ways[name] if name in ways else by_method(name, options.layer), told)
        print(f"| {row.name} | {100 * row.pointing:.1f} | {100 * row.energy:.1f} | {row.seconds:.3f} |", flush=True)


if __name__ == "__main__":
    main()
