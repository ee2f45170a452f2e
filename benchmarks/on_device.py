"""A file run by any provider with inputs and outputs on its device: seconds, copies to and from the host, agreement."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from onnxcam.engine import SHORT
from onnxcam.metadata.reserved import CLASS, MAP

_DEVICES = {"cuda": "cuda", "tensorrt": "cuda"}
"""Where the arrays of a provider are; else the host."""


class BoundSession:
    """A session whose inputs are on the device of *provider*, and whose outputs stay there.

    The class of an explanation graph is 0 for each image of *picture*, which is the batch by the input's name.
    """

    def __init__(self, model: bytes, picture: Mapping[str, np.ndarray], provider: str, profile: str = "") -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        if provider in _DEVICES and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        providers = list(dict.fromkeys([SHORT[provider], SHORT["cpu"]]))
        self.session = onnxruntime.InferenceSession(model, options, providers=providers)
        if self.session.get_providers()[0] != SHORT[provider]:
            raise SystemExit(f"error: {SHORT[provider]} did not start; see docs/providers.md for its libraries")
        names = {value.name for value in self.session.get_inputs()}
        count = len(next(iter(picture.values())))
        self.feeds = {**picture, **({CLASS: np.zeros(count, np.int64)} if CLASS in names else {})}
        device = _DEVICES.get(provider, "cpu")
        self._binding = self.session.io_binding()
        for name, array in self.feeds.items():
            self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        for value in self.session.get_outputs():
            self._binding.bind_output(value.name, device)

    def run(self) -> None:
        """Run once, and wait until the outputs are there."""
        self.session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def run_from_host(self) -> list[np.ndarray]:
        """Run once from arrays of the host to arrays of the host."""
        return list(self.session.run(None, self.feeds))


def host_copies(model: bytes, picture: Mapping[str, np.ndarray], provider: str) -> int:
    """Return how many tensors one run copies between host and device, besides inputs and outputs."""
    with tempfile.TemporaryDirectory() as folder:
        bound = BoundSession(model, picture, provider, str(Path(folder) / "run"))
        bound.run()
        events = json.loads(Path(bound.session.end_profiling()).read_text("utf-8"))
    kinds = [event.get("args", {}).get("op_name", "") for event in events if event.get("cat") == "Node"]
    return sum(kind.startswith("Memcpy") for kind in kinds)


def agreement(model: bytes, picture: Mapping[str, np.ndarray], provider: str) -> float:
    """Return the largest difference between the maps of *provider* and the CPU provider, over the largest value."""
    here, cpu = (_map(BoundSession(model, picture, one)) for one in (provider, "cpu"))
    return float(np.abs(here - cpu).max() / max(float(np.abs(cpu).max()), 1e-30))


def _map(bound: BoundSession) -> np.ndarray:
    names = [value.name for value in bound.session.get_outputs()]
    return np.asarray(bound.run_from_host()[names.index(MAP)], np.float64)
