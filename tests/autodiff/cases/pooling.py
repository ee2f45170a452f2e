"""Cases for onnxcam.autodiff.rules.pooling."""

from tests.autodiff.cases import Case

CASES: list[Case] = []
