"""Maps at the input's resolution: the gradient of the class score, true or rectified, signed, in the input's shape."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.methods.activation import gradcam, gradcam_plus_plus
from onnxcam.methods.base import Scene, method
from onnxcam.methods.fullgrad import enlarged
from onnxcam.structure.layer import Layer
from onnxcam.structure.layout import GridLayout, picture_layout


@method("gradient", at_layer=False)
def gradient(scene: Scene) -> ir.Value:
    """G = ∂y/∂x: which pixels change the score most.

    Simonyan et al., Deep Inside Convolutional Networks, 1312.6034.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="gradient")
    """
    return scene.gradient(scene.image)


@method("gradient-x-input", at_layer=False)
def gradient_x_input(scene: Scene) -> ir.Value:
    """x ⊙ ∂y/∂x: what each value contributes to y to first order, seen from zero.

    Shrikumar et al., Not Just a Black Box: Learning Important Features Through Propagating Activation Differences,
    1605.01713. An integer input counts in its real units, from its zero point.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="gradient-x-input")
    """
    op, image = scene.op, scene.image
    picture = Layer(image, GridLayout(1, ()))  # for its units
    return op.Mul(picture.dequantised(op), picture.dequantised_gradient(op, gradient(scene)))


@method("deconvnet", at_layer=False)
def deconvnet(scene: Scene) -> ir.Value:
    """The gradient with every rectifier applied on the way back instead: R_in = ReLU(R_out).

    Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, 1311.2901.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="deconvnet")
    """
    return scene.gradient(scene.image, "deconvnet")


@method("guided-backprop", at_layer=False)
def guided_backprop(scene: Scene) -> ir.Value:
    """The gradient with every rectifier applied both ways: R_in = [f > 0] ReLU(R_out).

    Springenberg et al., Striving for Simplicity: The All Convolutional Net, 1412.6806.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="guided-backprop")
    """
    return scene.gradient(scene.image, "guided")


@method("guided-gradcam", at_layer=False, uses_layer=True)
def guided_gradcam(scene: Scene) -> ir.Value:
    """Guided backpropagation times Grad-CAM, enlarged bilinearly: fine, and of the class.

    Selvaraju et al., 1610.02391.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="guided-gradcam", layer="layer4")
    """
    return _guided(scene, gradcam(scene))


@method("guided-gradcam++", at_layer=False, uses_layer=True)
def guided_gradcam_plus_plus(scene: Scene) -> ir.Value:
    """Guided backpropagation times Grad-CAM++, enlarged bilinearly.

    Chattopadhay et al., 1710.11063.

    Example:
        >>> onnxcam.explain("model.onnx", "dogs.jpg", method="guided-gradcam++")
    """
    return _guided(scene, gradcam_plus_plus(scene))


def _guided(scene: Scene, coarse: ir.Value) -> ir.Value:
    """Return guided backpropagation ⊙ *coarse*, a map [N, *space of the layer], at the picture's size."""
    op, image, layout = scene.op, scene.image, _picture(scene)
    fine = op.Squeeze(enlarged(op, op.Unsqueeze(coarse, [1]), image, layout), [1])
    return op.Mul(guided_backprop(scene), op.Unsqueeze(fine, [layout.channel]))


def _picture(scene: Scene) -> GridLayout:
    layout = picture_layout(scene.image)
    assert layout is not None
    return layout
