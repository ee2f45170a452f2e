"""docs/agreement.md has the rows that `benchmarks/agreement.py` measures, and takes new values in place."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    import agreement

    yield agreement, agreement.every_row()
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]


def test_the_page_has_the_rows_that_are_measured_and_no_others(scripts) -> None:
    agreement, peers = scripts
    page = agreement.PAGE.read_text("utf-8")
    for peer, rows in peers.items():
        section = re.search(rf"^## {re.escape(peer)}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        lines = [line for line in section[0].splitlines() if line.startswith("| `")]
        assert [re.sub(r"-?\d\.\d{6} \|$", "", line) for line in lines] == [agreement.label(row) for row in rows]


def test_a_row_is_replaced_or_added_in_order_and_the_words_stay(scripts) -> None:
    agreement, _ = scripts
    page = f"# A\n\n## peer 1\n\nWords.\n\n{agreement.TABLE}\n| a | 0.1 |\n| old | 0.3 |\n\n- Why.\n\n## next\n"
    labels = ["| a | ", "| b | "]
    found = agreement.updated(page, "peer", "peer 2", "| b | 0.2 |", labels)
    assert found == page.replace("peer 1", "peer 2").replace("| old | 0.3 |", "| b | 0.2 |")
    assert agreement.updated(found, "peer", "peer 2", "| a | 1.0 |", labels) == found.replace(
        "| a | 0.1 |", "| a | 1.0 |"
    )
    added = agreement.updated(page, "new", "new 3", "| c | 0.5 |", ["| c | "])
    assert added == page + f"\n## new 3\n\n{agreement.TABLE}\n| c | 0.5 |\n"
