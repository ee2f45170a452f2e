"""onnxcam explains any ONNX vision model, anywhere ONNX Runtime runs."""

__version__ = "0.1.0"
