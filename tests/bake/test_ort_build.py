"""The list of operators for a custom build of ONNX Runtime, read by ONNX Runtime's own parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxcam.bake.bake import bake
from onnxcam.bake.ort_build import write_operators
from onnxcam.errors import ModelError, OutputError
from tests.bake.baked import SHAPES
from tests.quantized import qdq


def parsed(file: Path) -> tuple[dict[str, dict[int, set[str]]], set[str]]:
    from onnxruntime.tools.reduced_build_config_parser import parse_config

    required, kept = parse_config(str(file), enable_type_reduction=True)
    return required, kept._globally_allowed_types


def test_the_runtime_reads_it(tmp_path: Path) -> None:
    made = bake(SHAPES, tmp_path / "b.onnx", uint8=True)
    said = write_operators(made.path, tmp_path / "ops.config")
    required, types = parsed(tmp_path / "ops.config")
    own = {node.op_type for node in onnx.load(made.path).graph.node}
    assert own <= required["ai.onnx"][18]
    assert "FusedConv" in required["com.microsoft"][1]  # as it is optimised where it runs
    assert {
        (domain, opset): sorted(names) for domain, each in required.items() for opset, names in each.items()
    } == said
    assert types == {"float", "int64_t", "bool", "uint8_t"}


def test_of_a_quantised_network(tmp_path: Path) -> None:
    made = bake(qdq(integer=True).SerializeToString(), tmp_path / "b.onnx")
    write_operators(made.path, tmp_path / "ops.config")
    required, types = parsed(tmp_path / "ops.config")
    assert {"Conv", "QuantizeLinear", "DequantizeLinear"} <= required["ai.onnx"][made.opset]
    assert {"int8_t", "float"} <= types


def test_the_commands(onnxcam: Callable[..., Any], tmp_path: Path) -> None:
    assert onnxcam("bake", SHAPES, "-o", "b.onnx", "--operators", "one.config").code == 0
    shown = onnxcam("inspect", "b.onnx", "--operators", "two.config")
    assert shown.code == 0
    assert "ai.onnx\t18\t" in shown.out
    assert Path("one.config").read_text(encoding="utf-8") == Path("two.config").read_text(encoding="utf-8")


def test_what_goes_wrong(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"cannot write '.*none/ops.config': No such file or directory; choose another"
    ):
        write_operators(SHAPES, tmp_path / "none" / "ops.config")
    with pytest.raises(ModelError, match="no such file"):
        write_operators(tmp_path / "none.onnx", tmp_path / "ops.config")
