"""`Sketch`: a tiny detector whose object is known, in the outputs of any convention."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

__all__ = ["NAMES", "SIZE", "Sketch", "boxes", "centred"]

SIZE = 64
NAMES = {0: "dog", 1: "square", 2: "cat"}
_BRIGHT, _DARK = 10.0, -5.0


def boxes(strides: tuple[int, ...] = (8, 16, 32), anchors: int = 1) -> NDArray[np.float32]:
    """Return corners [B, 4] in pixels: for each cell a box of 16 × 16 around its middle, level by level."""
    found = []
    for stride in strides:
        rows, columns = np.mgrid[: SIZE // stride, : SIZE // stride]
        middle = np.stack([columns.reshape(-1), rows.reshape(-1)], 1) * stride + stride / 2
        found.append(np.repeat(np.concatenate([middle - 8, middle + 8], 1), anchors, axis=0))
    return np.concatenate(found).astype(np.float32)


def centred(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return centres and sizes [B, 4] of *corners*."""
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)


class Sketch:
    """A network of 64 × 64 pixels; `f8`, `f16` and `f32` are near 1 at bright cells and 0 elsewhere."""

    def __init__(self, image: str = "images", graph: str = "main_graph", producer: str = "pytorch") -> None:
        self.image, self.graph, self.producer = image, graph, producer
        self.lines: list[str] = []
        self.constants: dict[str, NDArray[np.generic]] = {"kernel": np.full((4, 3, 8, 8), 1 / 192, np.float32)}
        self.constants["mix"] = np.full((1, 4, 1, 1), 0.25, np.float32)
        self.add(f"m = ReduceMean<axes = [1, 2, 3]>({image})", f"r = Sub({image}, m)")
        self.constants["little"] = np.full(1, 0.12, np.float32)
        self.add("c = Conv<strides = [8, 8]>(r, kernel)", "a = Relu(c)", "more = Add(a, little)")
        self.add("h = Div(a, more)", "f8 = Conv(h, mix)")
        for stride in (16, 32):
            self.add(f"f{stride} = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(f{stride // 2})")

    def add(self, *lines: str) -> None:
        """Append nodes."""
        self.lines += lines

    def constant(self, name: str, value: NDArray[np.generic] | list[int]) -> str:
        """Add a constant, and return its name."""
        array = np.asarray(value)
        self.constants[name] = array.astype(np.float32) if array.dtype == np.float64 else array
        return name

    def logits(self, stride: int, classes: int = 3, category: int = 1, anchors: int = 1) -> str:
        """Add logits [1, anchors · classes, h, w]: high at bright cells for *category*; return their name."""
        weight = np.zeros((anchors, classes, 1, 1, 1), np.float32)
        weight[:, category] = _BRIGHT
        name = f"l{stride}_{classes}_{anchors}"
        self.constant(f"{name}w", weight.reshape(-1, 1, 1, 1))
        self.constant(f"{name}b", np.full(anchors * classes, _DARK, np.float32))
        self.add(f"{name} = Conv(f{stride}, {name}w, {name}b)")
        return name

    def listed(self, grid: str, columns: int, batch: bool = True) -> str:
        """Add [1, cells, columns] of a grid [1, K, h, w], row by row; return its name."""
        self.constant(f"{grid}to", [1, -1, columns] if batch else [-1, columns])
        self.add(f"{grid}t = Transpose<perm = [0, 2, 3, 1]>({grid})", f"{grid}r = Reshape({grid}t, {grid}to)")
        return f"{grid}r"

    def scores(
        self, strides: tuple[int, ...] = (8, 16, 32), classes: int = 3, category: int = 1, anchors: int = 1
    ) -> str:
        """Add logits [1, B, classes] of all levels; return their name."""
        rows = [self.listed(self.logits(stride, classes, category, anchors), classes) for stride in strides]
        self.add(f"logits = Concat<axis = 1>({', '.join(rows)})")
        return "logits"

    def moved(self, name: str, table: NDArray[np.generic]) -> str:
        """Add the constant *table* [B, K] as the tensor *name* [1, B, K], which the image moves by nothing."""
        self.constant(f"{name}c", table[None].astype(np.float32))
        self.constant(f"{name}z", np.zeros(1, np.float32))
        self.add(f"{name}m = ReduceMean<axes = [1, 2, 3], keepdims = 0>({self.image})")
        self.add(f"{name}0 = Mul({name}m, {name}z)", f"{name} = Add({name}c, {name}0)")
        return name

    def best(self, scores: str, table: str, count: int = 20) -> None:
        """Add `score`, `category` and `box` [1, K, …] of the *count* best rows of *scores* [1, B, C]."""
        self.constant("count", [count]), self.constant("last", [2]), self.constant("first", [0])
        self.add(f"most = ReduceMax<axes = [2], keepdims = 0>({scores})")
        self.add(f"which = ArgMax<axis = 2, keepdims = 0>({scores})")
        self.add("score, at = TopK<axis = 1>(most, count)", "of = GatherElements<axis = 1>(which, at)")
        self.add("category = Cast<to = 1>(of)", "row = Squeeze(at, first)", f"box = Gather<axis = 1>({table}, row)")
        self.add("score3 = Unsqueeze(score, last)", "category3 = Unsqueeze(category, last)")

    def model(self, *outputs: str, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """Return the model with *outputs*, each as ``float[1, 84, 7] y``."""
        body = "\n".join(self.lines)
        made = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["": 17], producer_name: "{self.producer}"> '
            f"g (float[1, 3, {SIZE}, {SIZE}] {self.image}) => ({', '.join(outputs)}) {{ {body} }}"
        )
        made.graph.name = self.graph
        for name, value in self.constants.items():
            made.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        for key, text in (metadata or {}).items():
            made.metadata_props.add(key=key, value=text)
        return made
