"""The call forms of pytorch-grad-cam, torch-cam and captum for ``.onnx`` files: code moves by changing an import.

- `onnxcam.compat.pytorch_grad_cam`, `onnxcam.compat.torchcam`, `onnxcam.compat.captum`: the modules of these packages,
  with the names of theirs that have a counterpart. Each is a table from the class's name to the method's id.
- `CallableModel`: a model file that is called like a module of PyTorch, for code that calls its model.

Tensors are anything that numpy takes, such as those of PyTorch, which is not imported. docs/coming-from.md shows the
calls of each package beside onnxcam's.
"""

from onnxcam.compat.callable_model import CallableModel

__all__ = ["CallableModel"]
