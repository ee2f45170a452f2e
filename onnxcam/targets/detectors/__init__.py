"""Detectors: find the tensors that hold boxes and scores, and decode them. There is one file per family of layouts."""
