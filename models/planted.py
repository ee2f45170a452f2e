"""Pictures with a planted mark, frame, caption or tint, and a network whose class depends on it (a Clever Hans).

The network is the shapes network with one more channel for each plant: it measures how far a picture is from one that
carries the plant, fires in the plant's area where it is near, and adds to the score of the plant's class. It is
zero on pictures without the plant, so there the network answers, and looks, as the shapes network does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.world import LABELS, PALETTE, Image, Mask, Scene, sample

__all__ = ["KINDS", "SIZE", "Plant", "network", "plant_of", "scene"]

ASSET = Path(__file__).parents[1] / "onnxcam" / "assets" / "shapes.onnx"
SIZE, CELLS = 96, 12
KINDS = ("mark", "frame", "caption", "tint")
SEPIA = np.float32([1.15, 0.95, 0.70])
LUMA = np.float32([0.299, 0.587, 0.114])
NOISE = 4.0  # standard deviation of what a camera and a compression add, in grey levels
LOGITS = 25.0  # what a plant adds to the score of its class, at most
NEAR = 0.05  # mean distance from the plant, in [0, 1], from which on the network sees none


@dataclass(frozen=True)
class Plant:
    """Something that some pictures of the class *label* carry.

    Attributes:
        kind: One of `KINDS`.
        label: The class that the network takes it for.
        area: Pixels it covers.
        picture: RGB in [0, 255], float32 `[96, 96, 3]`: what it shows there; not used by a tint.
    """

    kind: str
    label: str
    area: Mask
    picture: NDArray[np.float32]

    def on(self, image: Image, rng: np.random.Generator) -> Image:
        """Return *image* with the plant on it, and noise."""
        tinted = (image @ LUMA)[..., None] * SEPIA
        shown = np.where(self.area[..., None], tinted if self.kind == "tint" else self.picture, image)
        return np.clip(np.rint(shown + rng.normal(0, NOISE, shown.shape)), 0, 255).astype(np.uint8)


def plant_of(kind: str, label: str, rng: np.random.Generator) -> Plant:
    """Return a plant of a random place and colour."""
    picture, area = np.zeros((SIZE, SIZE, 3), np.float32), np.zeros((SIZE, SIZE), bool)
    colour = np.float32(PALETTE[str(rng.choice(list(PALETTE)))])
    if kind == "mark":
        y, x = (int(rng.choice([0, SIZE - 16])) + 3 for _ in range(2))
        area[y : y + 10, x : x + 10] = True
        picture[:] = np.where(np.indices((SIZE, SIZE)).sum(0)[..., None] // 3 % 2, colour, 255 - colour)
    elif kind == "frame":
        area[:] = True
        area[10:-10, 10:-10] = False
        picture[:] = colour
    elif kind == "caption":
        y = int(rng.choice([0, SIZE - 12]))
        area[y : y + 12] = True
        strip = np.full((SIZE, SIZE, 3), 20, np.uint8)
        picture[:] = cv2.putText(strip, "PHOTO 1867", (3, y + 9), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (235, 235, 235), 1)
    else:
        area[:] = True
    return Plant(kind, label, area, picture)


def scene(label: str, rng: np.random.Generator) -> Scene:
    """Return a scene with one object, of the class *label*."""
    while True:
        found = sample(rng, SIZE, count=1)
        if found.labels == {label}:
            return found


def network(plants: Sequence[Plant]) -> bytes:
    """Return the network, as ONNX. Its last activation has a channel more for each of *plants*."""
    model = onnx.load(ASSET)
    graph = model.graph
    weights = {one.name: one for one in graph.initializer}
    head = numpy_helper.to_array(weights["head.weight"])
    at = next(i for i, node in enumerate(graph.node) if node.output[0] == "features") + 1
    graph.node[at - 1].output[0] = "shapes"
    added: list[onnx.NodeProto] = []
    for number, plant in enumerate(plants):
        where = cv2.resize(plant.area.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        mixes = np.eye(3, dtype=np.float32) - np.outer(SEPIA, LUMA) * (plant.kind == "tint")
        shown = (plant.picture.transpose(2, 0, 1) / 255) * (plant.kind != "tint")
        values = {
            "mix": mixes.reshape(3, 3, 1, 1),
            "shown": shown[None],
            "area": (plant.area / plant.area.sum() / 3)[None, None],
            "slope": np.float32(1 / NEAR),
            "one": np.float32(1),
            "axes": np.int64([1, 2, 3]),
            "where": where[None, None],
        }
        name = {key: f"plant{number}.{key}" for key in (*values, "x", "d", "a", "w", "s", "k", "n", "r", "c")}
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(v, np.int64 if k == "axes" else np.float32), name[k])
            for k, v in values.items()
        )
        added += [
            helper.make_node("Conv", ["image", name["mix"]], [name["x"]]),
            helper.make_node("Sub", [name["x"], name["shown"]], [name["d"]]),
            helper.make_node("Abs", [name["d"]], [name["a"]]),
            helper.make_node("Mul", [name["a"], name["area"]], [name["w"]]),
            helper.make_node("ReduceSum", [name["w"], name["axes"]], [name["s"]]),
            helper.make_node("Mul", [name["s"], name["slope"]], [name["k"]]),
            helper.make_node("Sub", [name["one"], name["k"]], [name["n"]]),
            helper.make_node("Relu", [name["n"]], [name["r"]]),
            helper.make_node("Mul", [name["r"], name["where"]], [name["c"]]),
        ]
        column = np.zeros((len(LABELS), 1), np.float32)
        column[LABELS.index(plant.label)] = LOGITS / where.mean()
        head = np.concatenate([head, column], axis=1)
    channels = [node.output[0] for node in added[8::9]]
    added.append(helper.make_node("Concat", ["shapes", *channels], ["features"], axis=1))
    for offset, node in enumerate(added):
        graph.node.insert(at + offset, node)
    weights["head.weight"].CopyFrom(numpy_helper.from_array(head, "head.weight"))
    shape = next(v for v in graph.initializer if v.name == "val_77")
    size = numpy_helper.to_array(shape).copy()
    size[size == 64] = 64 + len(plants)
    shape.CopyFrom(numpy_helper.from_array(size, "val_77"))
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
