"""ONNX Runtime: sessions and execution providers. The only importer of onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx


class Session:
    """A model ready to run."""

    def __init__(self, model: onnx.ModelProto, provider: str = "auto") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return all outputs by name."""
        return dict(zip(self.outputs, self._session.run(None, dict(feeds)), strict=True))
