"""Maps at the input: the gradient of the class score, plain or rectified, signed, in the input's shape."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.methods.activation import gradcam, gradcam_plus_plus
from onnxcam.methods.base import method
from onnxcam.methods.context import MapContext
from onnxcam.methods.fullgrad import enlarged
from onnxcam.structure.layer import Layer
from onnxcam.structure.layout import GridLayout

__all__ = ["deconvnet", "gradient", "gradient_x_input", "guided_backprop", "guided_gradcam", "guided_gradcam_plus_plus"]


@method("gradient", at_layer=False, sensitivity=True, additive=True)
def gradient(context: MapContext) -> ir.Value:
    """G = ∂y/∂x: how much each pixel changes the score.

    Simonyan et al., Deep Inside Convolutional Networks, 1312.6034.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="gradient")
    """
    return context.gradient(context.image)


@method("gradient-x-input", at_layer=False, additive=True)
def gradient_x_input(context: MapContext) -> ir.Value:
    """x ⊙ ∂y/∂x: the first-order contribution of each value to y, relative to zero.

    Shrikumar et al., Not Just a Black Box: Learning Important Features Through Propagating Activation Differences,
    1605.01713. An integer input counts in its real units, relative to its zero point.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="gradient-x-input")
    """
    op, image = context.op, context.image
    picture = Layer(image, GridLayout(1, ()))  # for its units
    return op.Mul(picture.dequantised(op), picture.dequantised_gradient(op, gradient(context)))


@method("deconvnet", at_layer=False, sensitivity=True, additive=True)
def deconvnet(context: MapContext) -> ir.Value:
    """The gradient with every rectifier applied on the way back instead: R_in = ReLU(R_out).

    Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, 1311.2901.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="deconvnet")
    """
    return context.gradient(context.image, "deconvnet")


@method("guided-backprop", at_layer=False, sensitivity=True, additive=True)
def guided_backprop(context: MapContext) -> ir.Value:
    """The gradient with every rectifier applied both ways: R_in = [f > 0] ReLU(R_out).

    Springenberg et al., Striving for Simplicity: The All Convolutional Net, 1412.6806.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="guided-backprop")
    """
    return context.gradient(context.image, "guided")


@method("guided-gradcam", at_layer=False, uses_layer=True, sensitivity=True)
def guided_gradcam(context: MapContext) -> ir.Value:
    """Guided backpropagation times Grad-CAM, enlarged bilinearly: fine, and specific to the class.

    Selvaraju et al., 1610.02391.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="guided-gradcam", layer="layer4")
    """
    return _guided(context, gradcam(context))


@method("guided-gradcam++", at_layer=False, uses_layer=True, sensitivity=True)
def guided_gradcam_plus_plus(context: MapContext) -> ir.Value:
    """Guided backpropagation times Grad-CAM++, enlarged bilinearly.

    Chattopadhay et al., 1710.11063.

    Example:
        >>> onnxcam.explain("model.onnx", "dogs.jpg", method="guided-gradcam++")
    """
    return _guided(context, gradcam_plus_plus(context))


def _guided(context: MapContext, coarse: ir.Value) -> ir.Value:
    """Return guided backpropagation ⊙ *coarse*, a map [N, *space of the layer], at the image's size."""
    op, image, layout = context.op, context.image, context.image_layout
    fine = op.Squeeze(enlarged(op, op.Unsqueeze(coarse, [1]), image, layout), [1])
    return op.Mul(guided_backprop(context), op.Unsqueeze(fine, [layout.channel]))
