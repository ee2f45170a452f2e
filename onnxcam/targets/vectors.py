"""Vectors: which of a model's outputs are class scores, embeddings or other numbers, and how that is known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.infer import no_numbers, same
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import units
from onnxcam.graph.subgraph import used_values
from onnxcam.structure.layer import ancestors
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.graph_outputs import is_flat_map, thresholded
from onnxcam.targets.heads import (
    Head,
    before_copies,
    before_head,
    ends_linear,
    ends_signed,
    numeric_head,
    numeric_whole,
    parts_of_one,
    width,
)
from onnxcam.targets.ranks import selected

__all__ = [
    "EMBEDDING",
    "EMBEDDINGS",
    "FEWEST_LETTERS",
    "NUMBERS",
    "SCORES",
    "SLOTS",
    "Vector",
    "is_unit",
    "of_pictures",
    "vectors",
    "words_of",
]

SCORES, EMBEDDING, NUMBERS, SLOTS = "scores", "embedding", "numbers", "slots"
"""The roles of a vector: class scores, an embedding, numbers such as an age or coordinates, or letters in slots."""

_SCORES = frozenset("logit score prob proba probability softmax sigmoid class classification cls category".split())
EMBEDDINGS = frozenset(
    "pre embed embedding emb feature feat pooler pooled hidden descriptor latent representation encoding token "
    "clstoken penultimate bottleneck hash mu logvar".split()
)
"""Words in the names of embeddings and features."""
_GEOMETRY = frozenset(
    "pose regression regress landmark ldmk lmk keypoint kpt kps point coord coordinate xyz bbox box loc location "
    "offset delta translation rotation rotmat quaternion gaze theta beta param cam camera iou vertice vert mesh".split()
)
_QUANTITY = frozenset(
    "age angle yaw pitch roll depth distance valence arousal quality mos count height weight speed steering".split()
)
FEWEST_LETTERS = 11
"""Without known letters, scores of fewer ones are not taken for letters: ten digits and the blank."""
_FEW = 3
"""A quantity has at most so many numbers; more of them are classes, such as ranges of age."""
_FEATURES = 64
"""Widths that are multiples of this are usual for features, and unusual for classes."""
_INTEGERS = (ir.DataType.INT64, ir.DataType.BOOL)


@dataclass(frozen=True)
class Vector:
    """One vector [N, K] of a model.

    Attributes:
        value: The tensor.
        width: K.
        role: `SCORES`, `EMBEDDING` or `NUMBERS`.
        source: How the role is known, a key of `onnxcam.metadata.reading.SOURCES`.
        head: Its softmax or sigmoid.
        parts: The number of equal parts that are probabilities each: several classifiers in one vector.
        ranks: The outputs that a TopK, ArgMax or maximum makes of it, where it is no output itself.
        rank: How sure it is that these are the scores, among several.
    """

    value: ir.Value
    width: int
    role: str
    source: str
    head: Head
    ranks: tuple[str, ...] = ()
    rank: float = 0
    parts: int = 1

    @property
    def name(self) -> str:
        """Return the name of the tensor."""
        return self.value.name or ""


def vectors(evidence: Evidence) -> list[Vector]:
    """Return the vectors that depend on the image, the likeliest scores first; what the user or the card names alone.

    The model runs only where names and graph do not tell.
    """
    said, labels = evidence.output("scores"), _label_count(evidence)
    if said is not None:
        count = width(said)
        source = evidence.names.source("scores") or "card"
        return [] if count is None else [replace(_read(said, count, evidence, labels), role=SCORES, source=source)]
    reached = _reached(evidence.graph, evidence.image)
    found = {one.value: one for one in _with_probabilities(list(_outputs(evidence, reached, labels)))}
    for one in _behind_ranks(evidence, reached):
        found.setdefault(one.value, one)
    ordered = sorted(found.values(), key=lambda one: -one.rank)
    return _varying(ordered, evidence)


def _label_count(evidence: Evidence) -> int | None:
    """Return the number of class names that the user, the metadata or a file says; None for none."""
    labels = evidence.names.of(None)
    return len(labels) if labels else None


def _outputs(evidence: Evidence, reached: set[ir.Value], labels: int | None) -> Iterator[Vector]:
    """Yield each output that is a vector of real numbers and no candidate, part or rank."""
    tensors = [y for y in evidence.graph.outputs if no_numbers(y) is None]
    for y in tensors:
        of_another = _is_of_another_input(y, evidence)
        if y not in reached or not of_pictures(y, evidence.graph) or of_another or _of_candidates(y, tensors):
            continue
        count = _width(y, evidence)
        integers = y.dtype in _INTEGERS and units(y) is None
        if count is None or integers or is_flat_map(y, evidence.image) or _chosen(y, reached) is not None:
            continue
        yield _read(y, count, evidence, labels)


def _with_probabilities(found: Sequence[Vector]) -> Iterator[Vector]:
    """Yield *found*, and rank scores whose probabilities are an output too behind these."""
    known = {before_copies(one.head.before) for one in found if one.head.name is not None}
    for one in found:
        beside = one.head.name is None and before_copies(one.value) in known
        yield replace(one, rank=min(one.rank, 0)) if beside else one


def _is_of_another_input(y: ir.Value, evidence: Evidence) -> bool:
    """Return whether the first axis of *y* is that of another input by its name, such as of texts."""
    own = _batch(y)
    others = {_batch(x) for x in evidence.graph.inputs if x is not evidence.image}
    return own is not None and own in others and _batch(evidence.image) not in (None, own)


def _batch(x: ir.Value) -> str | None:
    """Return the name of the first axis; None for a number, and without a name."""
    first = x.shape[0] if x.shape is not None and len(x.shape) else None
    return first.value if isinstance(first, ir.SymbolicDim) else None


def _width(y: ir.Value, evidence: Evidence) -> int | None:
    """Return the number of classes; of an output [N, ?] as a run shows it."""
    count = width(y)
    if count is None and _is_one_each(y, evidence.image):
        return 1
    if count is not None or y.shape is None or len(y.shape) != 2 or y.dtype is None or not y.dtype.is_floating_point():
        return count
    lengths = {row.shape[1] if row.shape[0] == 1 else None for row in evidence.values(y) if row.ndim == 2}
    return lengths.pop() if len(lengths) == 1 else None


def _is_one_each(y: ir.Value, image: ir.Value) -> bool:
    """Return whether *y* is [N], one number for each image."""
    if y.shape is None or image.shape is None or len(y.shape) != 1 or not len(image.shape):
        return False
    return same(y.shape[0], image.shape[0])


def _read(y: ir.Value, count: int, evidence: Evidence, labels: int | None) -> Vector:
    """Return *y* with its role: by its head, its name, the graph, a run, or its shape."""
    head, words = before_head(y), words_of(y)
    named = bool(words & _SCORES) and not words & EMBEDDINGS
    rank = 2.0 * named - ("aux" in words)
    if head.name is not None and not (head.name == "sigmoid" and (_measures(words, count) or "hash" in words)):
        exclusive = count > 1 and head.name != "sigmoid"
        return Vector(y, count, SCORES, "graph", head, rank=rank + 1 + 0.5 * exclusive + 0.25 * (count > 1))
    if labels is not None and (labels == count or (labels == 2 and count == 1)):
        return Vector(y, count, SCORES, evidence.names.origin(labels), head, rank=rank + 1)
    if words & EMBEDDINGS and count > 1:
        return Vector(y, count, EMBEDDING, "names", head)
    if _measures(words, count) and not named:
        return Vector(y, count, NUMBERS, "names", head)
    if is_unit(y) or (_normalised(y) and not named):
        return Vector(y, count, EMBEDDING, "graph", head)
    made = Vector(y, count, SCORES, "names" if named else "shapes", head, rank=rank)
    if not ends_linear(y):
        made = _by_numbers(made, evidence)
    if made.source == "shapes" and count == 1:
        return replace(made, role=NUMBERS, source="graph" if ends_signed(y) else "shapes")
    return replace(made, role=EMBEDDING) if made.source == "shapes" and count % _FEATURES == 0 else made


def _by_numbers(one: Vector, evidence: Evidence) -> Vector:
    """Return *one* as a run shows it: probabilities, or an embedding of length 1."""
    rows = [real for row in evidence.values(one.value) if (real := _real(one.value, row)) is not None]
    whole = numeric_whole(rows)
    parts = parts_of_one([row.reshape(-1) for row in rows])
    if parts:
        role = SLOTS if one.width // parts >= FEWEST_LETTERS else SCORES
        return replace(one, role=role, source="run", parts=parts)
    name = numeric_head([row / whole for row in rows])
    if name == "sigmoid" and ends_signed(one.value):
        name = None
    if name is not None and not (one.source == "shapes" and name == "sigmoid" and one.width > 1 and _are_unit(rows)):
        return replace(one, source="run", head=replace(one.head, name=name, whole=whole), rank=one.rank + 1)
    return replace(one, role=EMBEDDING, source="run") if one.source == "shapes" and _are_unit(rows) else one


def _are_unit(rows: Sequence[NDArray[np.float64]]) -> bool:
    return bool(rows) and all(row.size > 2 and abs(float(np.linalg.norm(row)) - 1) < 1e-3 for row in rows)


def _real(y: ir.Value, row: NDArray[np.generic]) -> NDArray[np.float64] | None:
    """Return the real numbers of *row*; None for integers of unknown scale."""
    if np.issubdtype(row.dtype, np.floating):
        return row.astype(np.float64)
    found = units(y)
    known = None if found is None else found.known
    return None if known is None else np.asarray((row.astype(np.float64) - known[1]) * known[0])


def _varying(found: Sequence[Vector], evidence: Evidence) -> list[Vector]:
    """Return *found* without vectors that are the same for each picture, where only shapes distinguish them."""
    if sum(one.source == "shapes" for one in found) < 2 or any(one.rank > 0 for one in found):
        return list(found)
    kept = [one for one in found if not _is_constant(evidence.values(one.value))]
    return kept or list(found)


def _is_constant(rows: Sequence[NDArray[np.generic]]) -> bool:
    return len(rows) > 1 and all(np.array_equal(row, rows[0]) for row in rows[1:])


def words_of(y: ir.Value) -> frozenset[str]:
    """Return the words in the name of *y*, in lower case and singular."""
    name = (y.name or "").rsplit("/", 1)[-1]
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    whole = [part.lower() for part in parts]
    return frozenset(word for part in whole for word in (part, part.removesuffix("s"), part.removesuffix("es")))


def _measures(words: frozenset[str], count: int) -> bool:
    return bool(words & _GEOMETRY) or (bool(words & _QUANTITY) and count <= _FEW)


def _of_candidates(output: ir.Value, outputs: Sequence[ir.Value]) -> bool:
    """Return whether *output*, [N, B, 1] or [N, B], has one score for each of B boxes [N, B, 4 or more]."""
    own = list(output.shape or ())
    if len(own) not in (2, 3) or (len(own) == 3 and own[2] != 1) or own[1] == 1:
        return False
    before = ancestors(output)  # an activation that is put out too holds no places
    shapes = [list(y.shape) for y in outputs if y.shape is not None and y not in before]
    return any(len(shape) in (3, 4) and shape[1] == own[1] and _places(shape[2:]) for shape in shapes)


def _places(lengths: Sequence[int | ir.SymbolicDim]) -> bool:
    """Return whether *lengths* are those of a box, or of points: [4 or more], or [K, 2 or 3]."""
    if len(lengths) == 2:
        return lengths[1] in (2, 3)
    return isinstance(lengths[0], int) and lengths[0] >= 4


def of_pictures(output: ir.Value, graph: ir.Graph) -> bool:
    """Return whether the first axis of *output* may be the batch: not if its fixed length is that of no input."""
    first = output.shape[0] if output.shape is not None and len(output.shape) > 1 else 1
    lengths = [x.shape[0] for x in graph.inputs if x.shape is not None and len(x.shape)]
    return not isinstance(first, int) or first == 1 or any(not isinstance(n, int) or n == first for n in lengths)


def _reached(graph: ir.Graph, image: ir.Value) -> set[ir.Value]:
    """Return *image* and what is computed from its values, not from its shape."""
    found = {image}
    measures = operators(Trait.MEASURES)
    for node in graph:
        if node.op_type not in measures and not found.isdisjoint(x for x in used_values(node) if x is not None):
            found.update(node.outputs)
    return found


def _behind_ranks(evidence: Evidence, reached: set[ir.Value]) -> Iterator[Vector]:
    """Yield the vectors whose ranks, maxima or dictionaries are outputs."""
    ranks: dict[ir.Value, list[str]] = {}
    for y in evidence.graph.outputs:
        x = _with_batch(_chosen(y, reached))
        if x is not None and of_pictures(x, evidence.graph):
            ranks.setdefault(x, []).append(y.name or "")
    for x, names in ranks.items():
        count = width(x)
        if count is not None:
            yield Vector(x, count, SCORES, "graph", before_head(x), tuple(names), rank=1.5)


def _with_batch(x: ir.Value | None) -> ir.Value | None:
    """Return the vector [1, K] that was reshaped to *x* [K]; *x* itself where it has an axis of images, or none."""
    node = None if x is None or x.shape is None or len(x.shape) != 1 else x.producer()
    before = None if node is None or node.op_type not in operators(Trait.RESHAPES) else node.inputs[0]
    same_length = x is not None and before is not None and width(before) == width(x)
    return _with_batch(before) if same_length else x


def _chosen(y: ir.Value, reached: set[ir.Value]) -> ir.Value | None:
    """Return the vector of which *y* is ranks, or the probabilities that *y* compares with a threshold; else None."""
    x = selected(y, reached)
    if x is not None:
        return x
    x = thresholded(y)
    return x if x is not None and x in reached and width(x) is not None and before_head(x).name is not None else None


def is_unit(y: ir.Value) -> bool:
    """Return whether the graph divides *y* by its norm."""
    node = before_copies(y).producer()
    if node is None or node.op_type not in ("Div", "LpNormalization") or node.attributes.get_int("p", 2) != 2:
        return False
    below = node.inputs[1] if node.op_type == "Div" else None
    while below is not None and (maker := below.producer()) is not None:
        if maker.op_type in ("ReduceL2", "Sqrt"):
            return True
        if maker.op_type not in ("Clip", "Max", "Expand", "Reshape", "Unsqueeze", "Add"):
            return False
        below = maker.inputs[0]
    return node.op_type == "LpNormalization"


def _normalised(y: ir.Value) -> bool:
    """Return whether a batch or layer normalisation makes *y*: class scores have none, embeddings of faces do."""
    node = before_copies(y).producer()
    return node is not None and node.op_type in ("BatchNormalization", "LayerNormalization")
