"""Cases for onnxcam.autodiff.rules.convolution."""

from tests.autodiff.cases import Case

CASES: list[Case] = []
