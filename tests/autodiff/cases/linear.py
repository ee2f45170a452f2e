"""Cases for onnxcam.autodiff.rules.linear."""

from tests.autodiff.cases import Case

CASES: list[Case] = []
