"""Operators of other domains: ONNX's reference evaluator knows none; see tests/autodiff/test_fused.py."""

from __future__ import annotations

from tests.autodiff.cases import Case

CASES: list[Case] = []
