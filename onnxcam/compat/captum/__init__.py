"""captum's attribution classes for ``.onnx`` files."""
