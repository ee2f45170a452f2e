"""ONNX files and their nodes: read, written, checked, emitted and folded; nothing here knows a derivative."""
