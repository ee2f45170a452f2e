"""Maps of relevance: the score of the class, shared out backwards among what it was computed from."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.core import backward, connected, dense
from onnxcam.autodiff.deeplift.rules import rescale_rules
from onnxcam.autodiff.relevance import EXCITATION, LRP, LRP_EPSILON, LRP_GAMMA
from onnxcam.autodiff.table import RuleSet
from onnxcam.graph.infer import gradient_dtype
from onnxcam.graph.quantisation import dequantised
from onnxcam.methods.base import Scene, method
from onnxcam.structure.layer import Layer
from onnxcam.structure.layout import GridLayout


def shared_out(scene: Scene, seed: ir.Value, wanted: ir.Value, rules: RuleSet) -> ir.Value:
    """Return the relevance of each entry of *wanted*, *seed* being that of the scores."""
    seeds = {scene.target.value: seed}
    (found,) = backward(scene.op, seeds, [wanted], rules)
    relevance = connected(wanted, found, seeds, rules)
    relevance.shape, relevance.type = wanted.shape, ir.TensorType(gradient_dtype(wanted))
    return relevance


def _of_the_score(scene: Scene, rules: RuleSet) -> ir.Value:
    """Return the relevance of the picture, that of the class being its score, that of the others zero."""
    op, value = scene.op, scene.target.value
    return shared_out(scene, op.Mul(dense(op, scene.target.seed, value), value), scene.image, rules)


@method("lrp", at_layer=False)
def lrp(scene: Scene) -> ir.Value:
    """R_x = Σ (x w)⁺ R_y / Σ (x w)⁺ at convolutions, LRP-ε at dense layers, R_y spread evenly at the first one.

    Layer-wise relevance propagation, Bach et al., PLOS ONE 10(7), 2015, as the composite that is the usual choice for
    CNNs: Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019; Kohlbrenner et al., 1910.09840. It needs
    a network of layers with constant weights, activations, pools and sums; squeeze-and-excitation gates take nothing.
    What biases contributed is lost, so that the map sums to less, or more, than the score.

    Example:
        >>> onnxcam.explain("vgg16.onnx", "cat.jpg", method="lrp")
    """
    return _of_the_score(scene, LRP)


@method("lrp-epsilon", at_layer=False)
def lrp_epsilon(scene: Scene) -> ir.Value:
    """R_x = x Σ w R_y / (y + ε sign y), at every layer.

    Bach et al., PLOS ONE 10(7), 2015. ε is as small as rounding allows, 1e-7 in float32; then, on a network of ReLUs,
    the map is x ∂y/∂x (Ancona et al., 1711.06104). Without biases it sums to the score. It needs what `lrp` needs.

    Example:
        >>> onnxcam.explain("vgg16.onnx", "cat.jpg", method="lrp-epsilon")
    """
    return _of_the_score(scene, LRP_EPSILON)


@method("lrp-gamma", at_layer=False)
def lrp_gamma(scene: Scene) -> ir.Value:
    """R_x = Σ (x w + γ (x w)⁺) R_y / Σ (x w + γ (x w)⁺), γ = ¼, at convolutions; else as `lrp`.

    Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019; where activations or y are negative, Andéol
    et al., 2021. It needs what `lrp` needs.

    Example:
        >>> onnxcam.explain("vgg16.onnx", "cat.jpg", method="lrp-gamma")
    """
    return _of_the_score(scene, LRP_GAMMA)


@method("deeplift", at_layer=False)
def deeplift(scene: Scene, baseline: float = 0.0) -> ir.Value:
    """M = m (x − x₀), m the multipliers Δy/Δx of each activation against the reference x₀; its sum is y(x) − y(x₀).

    Shrikumar et al., Learning Important Features Through Propagating Activation Differences, 1704.02685, with the
    rescale rule. x₀ is *baseline* everywhere, in the tensor's own units. Products, softmax, normalisations and maxima,
    of which the paper does not speak, are in `onnxcam.autodiff.deeplift.rules`; others, such as loops, are refused by
    name.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="deeplift", settings={"baseline": 0.5})
    """
    op, image = scene.op, scene.image
    rules = rescale_rules(op, image, baseline)
    picture, reference = Layer(image, GridLayout(1, ())), rules.reference_of(image)
    multipliers = picture.dequantised_gradient(op, scene.gradient(image, rules))
    return op.Mul(multipliers, op.Sub(picture.dequantised(op), dequantised(op, reference, image)))


@method("excitation-backprop", at_layer=True)
def excitation_backprop(scene: Scene) -> ir.Value:
    """M = Σ_k P(A_k), P(x) = Σ_y x⁺ w⁺ / (Σ x⁺ w⁺) P(y), the probability that x is a winner behind the class.

    Zhang et al., Top-down Neural Attention by Excitation Backprop, 1608.00507. The paper looks at a layer in the middle
    of the network (``layer=``). It needs what `lrp` needs.

    Example:
        >>> onnxcam.explain("vgg16.onnx", "cat.jpg", method="excitation-backprop", layer="features.23")
    """
    layer = scene.layer
    assert layer is not None
    seed = dense(scene.op, scene.target.seed, scene.target.value)
    winners = shared_out(scene, seed, layer.value, EXCITATION)
    return scene.op.ReduceSum(layer.layout.maps(scene.op, winners), [1], keepdims=0)
