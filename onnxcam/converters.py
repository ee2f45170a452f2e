"""Models of PyTorch, TensorFlow, Keras and TFLite become ONNX files that explain themselves, proven equal.

The frameworks are extras: ``pip install "onnxcam[torch]"``, ``pip install "onnxcam[tensorflow]"``.
"""

from onnxcam_converters.entry_points import from_file, from_pytorch, from_tensorflow
from onnxcam_converters.pipeline import Conversion

__all__ = ["Conversion", "from_file", "from_pytorch", "from_tensorflow"]
