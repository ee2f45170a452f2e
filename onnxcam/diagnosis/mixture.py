"""A network between its float and its quantised form: each quantised tensor has a share of its rounding.

Let x be a real tensor, and Q(x) the tensor as the quantised model holds it. The mixture computes with

    x + s (Q(x) − x),    0 ≤ s ≤ 1,

for each quantiser. With all shares at 0 it is the float network, with all at 1 the quantised one. With one at 1, only
that tensor is quantised. The derivative of a score y by s, at 0, is the first-order effect ⟨∂y/∂x, Q(x) − x⟩: one
backward pass gives the effects of all quantisers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.bake.dequantise import in_qdq_form, is_bounded
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.io import ModelLike, all_tensors, building
from onnxcam.graph.quantisers import MOVES, Quantiser, remove_quantisers
from onnxcam.metadata.reserved import load_bare
from onnxcam.model.prepared import PreparedModel
from onnxcam.passes import canonical
from onnxcam.targets.aim import Aim

__all__ = ["NO_FUNCTION", "ROUNDING", "Mixture", "Site"]

ROUNDING = "onnxcam.rounding"
"""Input of a mixture: the share of each quantiser, float32 [S]."""
NO_FUNCTION = -1.0
"""In place of the upper end of an activation function: there is none."""
_SIX = (0.98 * 6, 1.001 * 6)
"""A range that ends here is that of a ReLU6: calibration may not have reached 6."""


@dataclass(frozen=True)
class Site:
    """The tensors of one quantised activation.

    Attributes:
        real: Name of the real tensor in the float network.
        before: Name of the real tensor in the mixture.
        after: Name of the mixed tensor there.
        raw: Name of the real tensor in the float network, in front of the activation function that the range of the
            integers replaces; *real* if it replaces none.
    """

    real: str
    before: str
    after: str
    raw: str


@dataclass(frozen=True)
class Mixture:
    """A quantised model whose quantisers can be switched.

    Attributes:
        model: The mixture: the inputs of the quantised model and `ROUNDING`, its outputs in real numbers.
        real: The float network: the same without quantisers.
        quantisers: The quantisers that can be switched, in the order of the shares.
        fixed: The others: weights without a float original.
        sites: The tensors of the quantised activations, by the names of the quantisers' tensors.
        repeats: Quantisers that round what another one has rounded in the same way, by their tensors: its tensor.
        rectified: Where the range of a quantiser replaced a ReLU or ReLU6: the upper end by its tensor.
        errors: Names of the constants with rounding errors of weights in the mixture, by the quantisers' tensors.
        weights: Dequantised weights, likewise.
        originals: Float weights, likewise.
        biases: Float constants in place of those that the quantiser moved, by name, by the tensor of the weight whose
            share they have.
    """

    model: ir.Model
    real: ir.Model
    quantisers: list[Quantiser]
    fixed: list[Quantiser]
    sites: dict[str, Site]
    repeats: dict[str, str]
    rectified: dict[str, float]
    errors: dict[str, str]
    weights: dict[str, NDArray[np.float64]]
    originals: dict[str, NDArray[Any]]
    biases: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        quantised: ModelLike,
        weights: Mapping[str, NDArray[Any]] | None = None,
        uppers: Mapping[str, float] | None = None,
        biases: Mapping[str, NDArray[Any]] | None = None,
    ) -> Mixture:
        """Build the mixture of a *quantised* model.

        Args:
            quantised: The model.
            weights: The float weights by the name of the real tensor. Weights without one cannot be switched.
            uppers: Where an activation function is missing in front of a quantiser, since the range of its integers
                limits the tensor in its place: the upper end by the name of the quantiser's tensor; infinite for a
                ReLU, and `NO_FUNCTION` where none is missing.
            biases: The float model's values of constants that the quantiser moved, by name. The change has the share of
                the weight of the same layer, whose rounding it corrects.

        Raises:
            ModelError: the model has no quantised activation, or one whose scale is no constant.
        """
        with building():
            source = canonical(load_bare(quantised), STANDARD)
            weights = {**in_qdq_form(source), **(weights or {})}
            mixed = _Build(source.clone(), weights, uppers or {}, biases or {}, switched=True)
            model, found = mixed.run(), mixed.found
            own = {name: array for moved in mixed.moved.values() for name, array in moved.items()}
            real = _Build(source, weights, mixed.ends, own, switched=False, repeats=mixed.repeats)
            float_model = real.run()
            return cls(
                model,
                float_model,
                mixed.switches,
                [one for one in found if one not in mixed.switches and one.tensor not in mixed.repeats],
                {name: _site(x, *mixed.sites[name], raw) for name, (x, raw) in real.sites.items()},
                mixed.repeats,
                {name: end for name, end in mixed.ends.items() if end != NO_FUNCTION},
                mixed.errors,
                mixed.rounded,
                {one.tensor: weights[one.real] for one in found if one.real in weights},
                mixed.moved,
            )

    def open(self, aim: Aim | None = None) -> PreparedModel:
        """Return a copy that the caller may edit; without what quantises scores behind the head of *aim*, if given."""
        model = self.model.clone()
        tensors = all_tensors(model.graph)
        for site in () if aim is None else self._behind(aim):
            z, x = tensors[site.after], tensors[site.before]
            name = z.name if z.is_graph_output() else None
            z.replace_all_uses_with(x, replace_graph_outputs=True)
            if name is not None:
                z.name, x.name = f"{name}.rounded", name
        return PreparedModel.of(model)

    def _behind(self, aim: Aim) -> list[Site]:
        """Return the sites behind the tensor at which *aim* is differentiated."""
        target = aim.locate(self.real.graph)
        behind = {target}
        for node in self.real.graph:
            if any(x in behind for x in node.inputs):
                behind.update(node.outputs)
        names = {value.name for value in behind} - {target.name}
        return [site for site in self.sites.values() if site.real in names]

    def mixed(self, real: str) -> str:
        """Return the name in the mixture of a tensor of the float network, rounded if it is quantised."""
        return next((site.after for site in self.sites.values() if site.real == real), real)

    def parts(self) -> dict[str, list[str]]:
        """Return the tensors that a quantised activation is concatenated of, in the mixture, by its tensor."""
        tensors, found = all_tensors(self.model.graph), {}
        for name, site in self.sites.items():
            maker = tensors[site.before].producer()
            while maker is not None and maker.op_type in MOVES - {"Concat"}:
                maker = maker.inputs[0].producer() if maker.inputs[0] is not None else None
            if maker is not None and maker.op_type == "Concat":
                found[name] = [x.name or "" for x in maker.inputs if x is not None and constant(x) is None]
        return found

    def shares(self, quantised: float | Mapping[str, float] = 0.0) -> NDArray[np.float32]:
        """Return the shares: one number for all, or for the tensors named."""
        if not isinstance(quantised, Mapping):
            return np.full(len(self.quantisers), quantised, np.float32)
        return np.array([quantised.get(one.tensor, 0.0) for one in self.quantisers], np.float32)


def _site(*tensors: ir.Value) -> Site:
    real, before, after, raw = (value.name or "" for value in tensors)
    return Site(real, before, after, raw)


@dataclass
class _Build:
    """Replaces the quantisers of *model*."""

    model: ir.Model
    weights: Mapping[str, NDArray[Any]]
    uppers: Mapping[str, float]
    biases: Mapping[str, NDArray[Any]]
    switched: bool
    switches: list[Quantiser] = field(default_factory=list)
    sites: dict[str, tuple[ir.Value, ir.Value]] = field(default_factory=dict)  # real; mixed or raw
    found: list[Quantiser] = field(default_factory=list)
    repeats: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    rounded: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    moved: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)  # by the tensor of the layer's weight
    ends: dict[str, float] = field(default_factory=dict)  # of activation functions, by the quantisers' tensors

    def run(self) -> ir.Model:
        """Return the model without quantisers."""
        graph = self.model.graph
        self.op = Emitter(graph)
        self._made: list[ir.Value] = []
        self._made_by: dict[ir.Value, Quantiser] = {}
        self._rounded: dict[ir.Value, list[tuple[Quantiser, ir.Value]]] = {}  # by the real tensor
        self._given = ir.Value(name=ROUNDING, type=ir.TensorType(ir.DataType.FLOAT))
        self._mixed_weights: dict[ir.Value, Quantiser] = {}
        self.found = remove_quantisers(self.model, self._activation, self._weight)
        for name, array in self.biases.items():
            self._put_back(all_tensors(graph)[name], array)
        if self.switched:
            self._given.shape = ir.Shape([len(self.switches)])
            graph.inputs.append(self._given)
        self.op.place(self._made)
        graph.sort()
        return self.model

    def _share(self, quantiser: Quantiser, like: ir.Value) -> ir.Value:
        """Return the share of *quantiser*, a number, in the dtype of *like*."""
        if quantiser not in self.switches:
            self.switches.append(quantiser)
        place = self.switches.index(quantiser)
        share: ir.Value = self.op.Squeeze(self.op.Slice(self._given, [place], [place + 1]), [0])
        share.shape = ir.Shape([])
        return (
            self.op.Cast(share, to=int(like.dtype or ir.DataType.FLOAT)) if like.dtype != ir.DataType.FLOAT else share
        )

    def _activation(self, node: ir.Node, x: ir.Value | None, quantiser: Quantiser) -> ir.Value:
        assert x is not None
        known = self._rounded.setdefault(x, [])
        first, z = self._repeated(x, quantiser, known)
        if first is not None:
            self.repeats[quantiser.tensor] = first
            return z
        z = self._rounding(node, x, quantiser)
        known.append((quantiser, z))
        return z

    def _repeated(
        self, x: ir.Value, quantiser: Quantiser, known: Sequence[tuple[Quantiser, ir.Value]]
    ) -> tuple[str | None, ir.Value]:
        """Return the tensor of the quantiser that rounds *x* in the same way, if there is one, and the rounded *x*."""
        if not self.switched:
            first = self.repeats.get(quantiser.tensor)
            return first, next((z for other, z in known if other.tensor == first), x)
        for other, z in known:
            if other.equals(quantiser):
                return other.tensor, z
        return self._rounded_before(x, quantiser), x

    def _rounding(self, node: ir.Node, x: ir.Value, quantiser: Quantiser) -> ir.Value:
        raw, x = x, self._rectified(x, quantiser)
        if not self.switched:
            self.sites[quantiser.tensor] = x, raw
            self._made_by[x] = quantiser
            return x
        scale, zero = node.inputs[1], (*node.inputs, None)[2]
        q = self.op.QuantizeLinear(x, scale, zero)
        if quantiser.narrow:
            q = self.op.Clip(q, *(self.op.const(np.asarray(end, quantiser.dtype)) for end in quantiser.narrow))
        rounded = self.op.DequantizeLinear(q, scale, zero)
        z = self._mix(x, rounded, quantiser)
        self.sites[quantiser.tensor] = x, z
        self._made_by[z] = quantiser
        return z

    def _rounded_before(self, x: ir.Value, quantiser: Quantiser) -> str | None:
        """Return the tensor of the quantiser that rounded *x*, or the first of its parts, in the same way before.

        None: there is none, or not for all parts that *x* is joined of.
        """
        if x in self._made_by:
            first = self._made_by[x]
            return first.tensor if first.equals(quantiser) else None
        node = x.producer()
        if node is None or node.op_type not in MOVES:
            return None
        parts = node.inputs if node.op_type == "Concat" else node.inputs[:1]
        found = [None if part is None else self._rounded_before(part, quantiser) for part in parts]
        return found[0] if all(found) else None

    def _rectified(self, x: ir.Value, quantiser: Quantiser) -> ir.Value:
        """Return *x* behind the activation function that the range of *quantiser* replaces, if it replaces one."""
        upper = self.ends[quantiser.tensor] = self._end(x, quantiser)
        if upper == NO_FUNCTION:
            return x
        y: ir.Value = self.op.Clip(x, 0.0, float(upper)) if np.isfinite(upper) else self.op.Relu(x)
        self._made.append(y)
        return y

    def _end(self, x: ir.Value, quantiser: Quantiser) -> float:
        """Return where this function ends; `NO_FUNCTION` if there is none."""
        known = self.uppers.get(quantiser.tensor)
        if known is not None:
            return known
        low, high = quantiser.range
        if x.is_graph_input() or low != 0 or is_bounded(x):
            return NO_FUNCTION
        return 6.0 if _SIX[0] <= high <= _SIX[1] else np.inf

    def _mix(self, x: ir.Value, rounded: ir.Value, quantiser: Quantiser) -> ir.Value:
        return self._sum(x, self.op.Sub(rounded, x), quantiser)

    def _sum(self, x: ir.Value, error: ir.Value, quantiser: Quantiser) -> ir.Value:
        z: ir.Value = self.op.Add(x, self.op.Mul(self._share(quantiser, x), error))
        z.shape = x.shape
        self._made.append(z)
        return z

    def _weight(self, node: ir.Node, _: ir.Value | None, quantiser: Quantiser) -> ir.Value:
        q = constant(node.inputs[0]) if node.inputs[0] is not None else None
        assert q is not None
        like = node.outputs[0].dtype or ir.DataType.FLOAT
        rounded = self.rounded[quantiser.tensor] = quantiser.dequantised(q)
        known = self.weights.get(quantiser.real)
        if known is None:
            return self._constant(rounded, like)
        if known.shape != rounded.shape:
            raise ModelError(
                f"the float weights of {quantiser.real!r} have the shape {list(known.shape)}, not {list(rounded.shape)}"
            )
        w = self._constant(known, like)
        if not self.switched:
            return w
        error = self._constant(rounded - known, like)
        self.errors[quantiser.tensor] = error.name or ""
        z = self._sum(w, error, quantiser)
        self._mixed_weights[z] = quantiser
        return z

    def _put_back(self, b: ir.Value, array: NDArray[Any]) -> None:
        """Replace the moved bias *b* by *array*, that of the float model, mixed as the weight of its layer."""
        like, moved = b.dtype or ir.DataType.FLOAT, constant(b)
        if not self.switched:
            b.replace_all_uses_with(self._constant(array, like))
            return
        quantiser = next((found for node in b.consumers() for found in self._weights_of(node)), None)
        if quantiser is None or moved is None:
            return
        z = self._sum(self._constant(array, like), self._constant(moved - array, like), quantiser)
        b.replace_all_uses_with(z)
        self.moved.setdefault(quantiser.tensor, {})[b.name or ""] = array

    def _weights_of(self, node: ir.Node) -> Iterator[Quantiser]:
        """Yield the quantisers of the weights of *node* and of the operators before it."""
        before = [x.producer() for x in node.inputs if x is not None]
        for each in (node, *(maker for maker in before if maker is not None)):
            yield from (self._mixed_weights[x] for x in each.inputs if x in self._mixed_weights)

    def _constant(self, array: NDArray[Any], like: ir.DataType) -> ir.Value:
        value = self.op.const(array, like)
        self._made.append(value)
        return value
