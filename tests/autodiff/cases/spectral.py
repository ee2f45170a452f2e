"""Cases for onnxcam.autodiff.rules.spectral."""

import numpy as np

from tests.autodiff.cases import case, normal

AXIS = np.asarray(1, np.int64)
LONG, SHORT = np.asarray(7, np.int64), np.asarray(3, np.int64)
CASES = [
    case("DFT", "real", {"x": normal(2, 5, 1), "n": None, "axis": AXIS}, ("axis",), opset=20),
    case("DFT", "complex", {"x": normal(2, 4, 3, 2), "n": None, "axis": AXIS}, ("axis",), opset=20),
    case("DFT", "onesided", {"x": normal(2, 5, 1), "n": None, "axis": AXIS}, ("axis",), opset=20, onesided=1),
    case("DFT", "even-onesided", {"x": normal(2, 6, 1), "n": None, "axis": AXIS}, opset=20, onesided=1),
    case("DFT", "inverse", {"x": normal(2, 5, 2), "n": None, "axis": AXIS}, ("axis",), opset=20, inverse=1),
    case("DFT", "longer", {"x": normal(2, 5, 2), "n": LONG, "axis": AXIS}, ("n", "axis"), opset=20),
    case("DFT", "shorter", {"x": normal(2, 5, 2), "n": SHORT, "axis": AXIS}, ("axis",), opset=20),
    case("DFT", "default-axis", {"x": normal(2, 5, 3, 2)}, opset=20),
    case(
        "DFT", "attribute", {"x": normal(2, 5, 3, 2)}, opset=18, axis=2, symbolic=False
    ),  # the attribute went with opset 20
]
