"""Ten whole networks of `transformers`; ``python -m tests.architectures`` measures all of them."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")
from tests.architectures import FAST, NETWORKS
from tests.architectures.measure import Gradient, measure


@pytest.mark.parametrize("name", FAST)
@pytest.mark.filterwarnings("ignore")
def test_the_input_gradient_is_pytorchs(name: str) -> None:
    found = measure(NETWORKS[name], ["dynamo"], quick=True)["dynamo"]
    assert isinstance(found, Gradient), found
    assert found.error <= 1e-3
    assert found.cosine >= 0.9999
    assert found.gradient_nodes <= 4 * found.nodes
