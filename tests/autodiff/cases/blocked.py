"""The blocked layout depends on the processor: it is tested by whole files only, in tests/autodiff/test_fused.py."""

from __future__ import annotations

from tests.autodiff.cases import Case

CASES: list[Case] = []
