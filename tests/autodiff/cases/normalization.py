"""Cases for onnxcam.autodiff.rules.normalization."""

from tests.autodiff.cases import Case

CASES: list[Case] = []
