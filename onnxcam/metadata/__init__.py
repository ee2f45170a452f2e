"""Metadata in or beside a model file: the card, class names, JSON of other tools, and onnxcam's reserved names."""
