"""Files of PyTorch, Keras and TensorFlow, damaged, for export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

from tests.fuzz import wire
from tests.fuzz.place import ROOT, Place

_NAMES = ("net.pt2", "net.pt", "weights.pt", "net.keras", "net.h5", "net.pb", "net.tflite")


def case(rng: Random, place: Place) -> list[str]:
    """Lay out one case and return the words of its command."""
    name = rng.choice([name for name in _NAMES if (place.stock / name).is_file()])
    data = (place.stock / name).read_bytes()
    bad = place.put(name, data if rng.random() < 0.02 else wire.mutated(rng, data))
    if name == "weights.pt":
        return ["export", "tests.fuzz.frameworks:network", "--weights", bad, "-e", "1x3x8x8", "-o", "out.onnx"]
    extra = {"net.pb": ["--inputs", "x", "--outputs", "Identity"], "net.pt2": [], "net.pt": ["-e", "1x3x8x8"]}
    return ["export", bad, *extra.get(name, []), "-o", "out.onnx"]


def fill_stock(folder: Path) -> None:
    """Write the files that the installed frameworks make; they are not loaded into this process."""
    for framework in ("torch", "tensorflow"):
        command = [sys.executable, "-m", "tests.fuzz.frameworks", framework, str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
