"""Cases for onnxcam.autodiff.rules.indexing."""

from tests.autodiff.cases import Case

CASES: list[Case] = []
