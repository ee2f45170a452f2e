"""Memory of a conversion: nothing holds the weights longer than it needs them."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxcam_converters import verify
from onnxcam_converters.verify import Verifier

from onnxcam.graph.io import load
from tests.converters.test_verify import Framework
from tests.optional import torch

PRODUCT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 4] x) => (float[n, 4] y) <float s = {3.0}> { y = Mul(x, s) }
"""


def test_the_sessions_are_gone_before_the_framework_computes_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, alive = [], []

    class Counted(verify.Session):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            sessions.append(weakref.ref(self))

    class Product(Framework):
        def gradients(self, feeds: Any, cotangents: Any, layers: Any) -> dict[str, np.ndarray]:
            alive.extend(session() for session in sessions if session() is not None)
            return {"x": 3 * cotangents["y"]}

    monkeypatch.setattr(verify, "Session", Counted)
    verifier = Verifier(Product(lambda x: 3 * x), {"given": {"x": np.ones((2, 4), np.float32)}})
    verifier.backward(load(onnx.parser.parse_model(PRODUCT)), [])
    assert [(row.feed, row.kind, row.holds) for row in verifier.rows] == [
        ("random", "input gradient", True),
        ("given", "input gradient", True),
    ]
    assert len(sessions) == 1
    assert alive == []


PEAK = """
import sys
import torch
from onnxcam.converters import from_pytorch
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
wide = [layer for _ in range(8) for layer in (torch.nn.Linear(2048, 2048), torch.nn.ReLU())]
net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.Flatten(), *wide, torch.nn.Linear(2048, 10))
torch.onnx.export(net.eval(), (torch.zeros(2, 3, 8, 8),), sys.argv[1], dynamo=True, verbose=False)
before = peak()
from_pytorch(net, sys.argv[2], torch.zeros(1, 3, 8, 8), gradients=True)
print((peak() - before) / sum(each.nbytes for each in net.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
def test_a_conversion_takes_less_than_three_times_the_weights(tmp_path: Path) -> None:
    """Beyond the exporter's peak in the same process: 134 MB of weights, and both their gradients' packed copies."""
    weights = 8 * 2048 * 2048 * torch.float32.itemsize
    command = [sys.executable, "-c", PEAK, str(tmp_path / "bare.onnx"), str(tmp_path / "net.onnx")]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(ran.stdout.splitlines()[-1]) < 3
    assert (tmp_path / "net.onnx").stat().st_size > weights
