"""Cases for onnxcam.autodiff.rules.movement."""

from tests.autodiff.cases import Case

CASES: list[Case] = []
