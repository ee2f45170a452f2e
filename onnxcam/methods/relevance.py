"""Relevance propagation and DeepLIFT: the score of the class, distributed backwards over the inputs."""

from __future__ import annotations

from typing import Literal

import onnx_ir as ir

from onnxcam.autodiff.attnlrp import attnlrp_rules
from onnxcam.autodiff.core import backward, connected, dense
from onnxcam.autodiff.deeplift.rules import rescale_rules
from onnxcam.autodiff.relevance import EXCITATION, LRP, LRP_EPSILON, LRP_GAMMA
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import MethodError
from onnxcam.graph.infer import gradient_dtype
from onnxcam.graph.quantisation import dequantised
from onnxcam.methods.base import method
from onnxcam.methods.context import MapContext
from onnxcam.structure.layer import Layer
from onnxcam.structure.layout import GridLayout

__all__ = ["attnlrp", "deeplift", "excitation_backprop", "lrp", "lrp_epsilon", "lrp_gamma", "propagated"]


def propagated(context: MapContext, seed: ir.Value, wanted: ir.Value, rules: RuleSet) -> ir.Value:
    """Return the relevance of each element of *wanted*, for the relevance *seed* of the scores."""
    seeds = {context.target.value: seed}
    (found,) = backward(context.op, seeds, [wanted], rules)
    relevance = connected(wanted, found, seeds, rules)
    relevance.shape, relevance.type = wanted.shape, ir.TensorType(gradient_dtype(wanted))
    return relevance


def _score_relevance(context: MapContext, rules: RuleSet) -> ir.Value:
    """Return the relevance of the image: that of the class is its score, that of the other classes zero."""
    op, value = context.op, context.target.value
    return propagated(context, op.Mul(dense(op, context.target.seed, value), value), context.image, rules)


@method("lrp", at_layer=False, additive=True, sums_channels=True)
def lrp(context: MapContext) -> ir.Value:
    """R_x = Σ (x w)⁺ R_y / Σ (x w)⁺ at convolutions, LRP-ε at dense layers, R_y spread evenly at the first one.

    Layer-wise relevance propagation, Bach et al., PLOS ONE 10(7), 2015, with the usual composite of rules for
    CNNs: Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019; Kohlbrenner et al., 1910.09840. The
    network must consist of layers with constant weights, activations, pooling and sums; squeeze-and-excitation gates
    get no relevance. The contribution of biases is lost, so the sum of the map differs from the score.

    Example:
        >>> onnxcam.explain("vgg16.onnx", "cat.jpg", method="lrp")
    """
    return _score_relevance(context, LRP)


@method("lrp-epsilon", at_layer=False, additive=True)
def lrp_epsilon(context: MapContext) -> ir.Value:
    """R_x = x Σ w R_y / (y + ε sign y), at every layer.

    Bach et al., PLOS ONE 10(7), 2015. ε is as small as rounding allows, 1e-7 in float32; then, for a network of ReLUs,
    the map is x ∂y/∂x (Ancona et al., 1711.06104). Without biases it sums to the score. Requirements as for `lrp`.

    Example:
        >>> onnxcam.explain("vgg16.onnx", "cat.jpg", method="lrp-epsilon")
    """
    return _score_relevance(context, LRP_EPSILON)


@method("lrp-gamma", at_layer=False, additive=True, sums_channels=True)
def lrp_gamma(context: MapContext) -> ir.Value:
    """R_x = Σ (x w + γ (x w)⁺) R_y / Σ (x w + γ (x w)⁺), γ = ¼, at convolutions; else as `lrp`.

    Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019; where activations or y are negative, Andéol
    et al., 2021. Requirements as for `lrp`.

    Example:
        >>> onnxcam.explain("vgg16.onnx", "cat.jpg", method="lrp-gamma")
    """
    return _score_relevance(context, LRP_GAMMA)


@method("attnlrp", at_layer=True, uses_layer=False, of_pixels=True)
def attnlrp(
    context: MapContext,
    first: Literal["flat", "gamma", "epsilon"] = "flat",
    gamma: float = 0.15,
    dense: float = 0.0,
) -> ir.Value:
    """R = Σ_k x_k ∂y/∂x_k, the gradient with ½ at factors of products, y / x at activations, σ of norms constant.

    Achtibat et al., AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers, ICML 2024, 2402.05602:
    layer-wise relevance propagation for transformers and networks with gates and normalisations, as a modified
    gradient. The map is the sum over the image's channels. *first* is the rule of the convolution of the image, which
    embeds the patches: ``flat`` spreads relevance evenly over a patch, ``gamma`` is LRP-γ, ``epsilon`` LRP-ε. *gamma*
    is the γ of convolutions, *dense* that of dense layers; 0 is LRP-ε. What biases and position embeddings add is lost,
    and so is the constant term of softmax's expansion.

    Example:
        >>> onnxcam.explain("vit.onnx", "cat.jpg", method="attnlrp")
    """
    op, image, layout = context.op, context.image, context.image_layout
    for name, value in (("gamma", gamma), ("dense", dense)):
        if value < 0:
            raise MethodError(f"the setting {name} of attnlrp is a number from 0 on, not {value:g}")
    gradient = context.gradient(image, attnlrp_rules(first, gamma, dense))
    picture = Layer(image, layout)
    relevance = op.Mul(picture.dequantised(op), picture.dequantised_gradient(op, gradient))
    total = op.ReduceSum(relevance, [layout.channel], keepdims=0)
    total.shape = ir.Shape([None, *layout.size(image)])
    return context.positive(total)


@method("deeplift", at_layer=False, additive=True)
def deeplift(context: MapContext, baseline: float = 0.0) -> ir.Value:
    """M = m (x − x₀), m the multipliers Δy/Δx relative to the reference x₀; its sum is y(x) − y(x₀).

    Shrikumar et al., Learning Important Features Through Propagating Activation Differences, 1704.02685, with the
    rescale rule. x₀ is *baseline* everywhere, in the tensor's own units. The rules of products, softmax,
    normalisations and maxima, which the paper does not give, are in `onnxcam.autodiff.deeplift.rules`. Operators
    without a rule, such as loops, are refused by name.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="deeplift", settings={"baseline": 0.5})
    """
    op, image = context.op, context.image
    rules = rescale_rules(op, image, baseline)
    picture, reference = Layer(image, GridLayout(1, ())), rules.reference_of(image)
    multipliers = picture.dequantised_gradient(op, context.gradient(image, rules))
    return op.Mul(multipliers, op.Sub(picture.dequantised(op), dequantised(op, reference, image)))


@method("excitation-backprop", at_layer=True)
def excitation_backprop(context: MapContext) -> ir.Value:
    """M = Σ_k P(A_k), P(x) = Σ_y x⁺ w⁺ / (Σ x⁺ w⁺) P(y), the marginal winning probability for the class.

    Zhang et al., Top-down Neural Attention by Excitation Backprop, 1608.00507. The paper uses a layer in the middle
    of the network (``layer=``). Requirements as for `lrp`.

    Example:
        >>> onnxcam.explain("vgg16.onnx", "cat.jpg", method="excitation-backprop", layer="features.23")
    """
    layer = context.layer
    seed = dense(context.op, context.target.seed, context.target.value)
    winners = propagated(context, seed, layer.value, EXCITATION)
    return context.op.ReduceSum(layer.layout.maps(context.op, winners), [1], keepdims=0)
