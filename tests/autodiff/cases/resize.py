"""Cases for onnxcam.autodiff.rules.resize."""

from tests.autodiff.cases import Case

CASES: list[Case] = []
