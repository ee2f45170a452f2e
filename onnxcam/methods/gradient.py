"""Maps at the input's resolution: the gradient of the class score, true or rectified, signed, in the input's shape."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.layout import picture_layout
from onnxcam.methods.activation import gradcam
from onnxcam.methods.base import Scene, method
from onnxcam.methods.fullgrad import enlarged


@method("gradient", at_layer=False)
def gradient(scene: Scene) -> ir.Value:
    """G = ∂y/∂x: which pixels change the score most.

    Simonyan et al., Deep Inside Convolutional Networks, 1312.6034.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="gradient")
    """
    return scene.gradient(scene.image)


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
    op, image = scene.op, scene.image
    layout = picture_layout(image)
    assert layout is not None
    fine = op.Squeeze(enlarged(op, op.Unsqueeze(gradcam(scene), [1]), image, layout), [1])
    return op.Mul(guided_backprop(scene), op.Unsqueeze(fine, [layout.channel]))
