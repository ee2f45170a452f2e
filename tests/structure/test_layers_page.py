"""The verdicts of docs/layers.md."""

from __future__ import annotations

from typing import Any

import pytest

from tools.layers_page import page, verdict

ROW: dict[str, Any] = {"network": "net", "exporter": "dynamo", "layer": "norm", "size": [4, 4], "order": True}
ROW |= {"said": "", "cells": [16]}
MODULES = {"net": "timm.models.net", "other": "timm.models.other"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "right"),
        ({"cells": [17]}, "right"),
        ({"cells": [64, 16]}, "right"),
        ({"cells": [64]}, "other stage, in silence"),
        ({"cells": [64], "said": "behind it"}, "other stage, told"),
        ({"order": False}, "wrong order"),
        ({"order": None}, "order not seen"),
        ({"refused": "no layer"}, "refused"),
        ({"not exported": "TypeError"}, "not exported"),
    ],
)
def test_verdicts(changed: dict[str, Any], expected: str) -> None:
    assert verdict(ROW | changed) == expected


def test_the_page_counts_its_rows_and_says_why_one_is_not_right() -> None:
    text = page([ROW, {"network": "other", "exporter": "torchscript", "refused": "no layer"}], MODULES)
    assert "2 networks, 2 files: 1 right, 1 refused. 1 module files of timm have a layer." in text
    assert "| net | `norm` 4 × 4 |" in text
    assert "- other, torchscript: refused; no layer" in text
