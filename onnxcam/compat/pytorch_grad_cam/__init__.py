"""The classes of pytorch-grad-cam for ``.onnx`` files: `names` gives each the id of onnxcam's method.

::

    from onnxcam.compat.pytorch_grad_cam import GradCAM
    from onnxcam.compat.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model="model.onnx", target_layers=["layer4"]) as cam:
        grayscale_cam = cam(input_tensor=x, targets=[ClassifierOutputTarget(281)])[0]
"""

from onnxcam.compat.explainers import classes_of
from onnxcam.compat.pytorch_grad_cam.base_cam import BaseCAM, GuidedBackpropReLUModel, RefineCAM

NAMES = {
    "GradCAM": "gradcam",
    "GradCAMPlusPlus": "gradcam++",
    "HiResCAM": "hirescam",
    "GradCAMElementWise": "gradcam-elementwise",
    "XGradCAM": "xgradcam",
    "LayerCAM": "layercam",
    "ShapleyCAM": "shapleycam",
    "FEM": "fem",
    "FinerCAM": "finercam",
    "EigenCAM": "eigencam",
    "EigenGradCAM": "eigengradcam",
    "KPCA_CAM": "kpcacam",
    "ScoreCAM": "scorecam",
    "AblationCAM": "ablationcam",
    "FullGrad": "fullgrad",
}
"""The method of each class."""

_SETTINGS = {"FinerCAM": {"alpha": 1.0}}
"""The defaults that are not onnxcam's."""

__all__ = ["NAMES", "BaseCAM", "GuidedBackpropReLUModel", "RefineCAM", *NAMES]
__getattr__ = classes_of(NAMES, BaseCAM, __name__, settings={name: _SETTINGS.get(name, {}) for name in NAMES})
