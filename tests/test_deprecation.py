"""Old names of arguments and options work, warn once with the new name, and end with a version that is to come."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer

import onnxcam as package
from onnxcam.cli import app
from onnxcam.cli.old_options import OLD_OPTIONS
from onnxcam.compare.pack import pack
from onnxcam.compare.record import record
from onnxcam.deprecation import ENDS, takes_old_names
from onnxcam.media import heatmap
from tests.command import Ran

ASSETS = Path(package.__file__).parent / "assets"
SHAPES, PICTURE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def says(old: str, new: str) -> str:
    return rf"^{old} is {new} now; the old name ends with version {ENDS}$"


def test_old_names_end_with_a_version_that_is_to_come() -> None:
    """This fails when the version reaches ENDS: remove the old names then."""
    present, end = (tuple(map(int, text.split(".")[:2])) for text in (package.__version__, ENDS))
    assert present < end


def test_alpha_is_opacity(tmp_path: Path) -> None:
    explanation = package.explain(SHAPES, PICTURE)
    with pytest.warns(DeprecationWarning, match=says(r"overlay\(alpha=\)", "opacity=")):
        assert np.array_equal(explanation.overlay(alpha=0.5), explanation.overlay(0.5))  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning, match=says(r"save\(alpha=\)", "opacity=")):
        old = explanation.save(tmp_path / "old", alpha=0.3)  # type: ignore[call-arg]
    new = explanation.save(tmp_path / "new", opacity=0.3)
    assert old["overlay"].read_bytes() == new["overlay"].read_bytes()
    heat = np.eye(8, dtype=np.float32)
    with pytest.warns(DeprecationWarning, match=says(r"overlay\(alpha=\)", "opacity=")):
        drawn = heatmap.overlay(np.zeros((8, 8, 3), np.uint8), heat, alpha=0.3)  # type: ignore[call-arg]
    assert np.array_equal(drawn, heatmap.overlay(np.zeros((8, 8, 3), np.uint8), heat, 0.3))
    with pytest.raises(TypeError, match=r"overlay\(\) got both opacity= and its old name alpha=; give opacity= alone"):
        explanation.overlay(opacity=0.5, alpha=0.3)  # type: ignore[call-arg]


@pytest.mark.parametrize("command", [record, pack])
def test_classes_from_is_explain_from(command: Callable[..., object], tmp_path: Path) -> None:
    with (
        pytest.warns(DeprecationWarning, match=says(rf"{command.__name__}\(classes_from=\)", "explain_from=")),
        pytest.raises(package.errors.RecordingError, match="nowhere"),
    ):
        command(SHAPES, [PICTURE], tmp_path / "out", classes_from=tmp_path / "nowhere")


def test_a_line_warns_once() -> None:
    program = "import onnxcam.deprecation as d\nf = d.takes_old_names(a='b')(lambda b: b)\nfor n in range(3): f(a=n)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr.count("DeprecationWarning")) == (0, 1), ran.stderr


def test_new_names_do_not_warn() -> None:
    assert takes_old_names(a="b")(lambda b: b)(b=3) == 3  # warnings are errors here


@pytest.mark.parametrize(("old", "new"), OLD_OPTIONS.items())
def test_new_options_exist_and_old_ones_are_not_in_help(old: str, new: str) -> None:
    given = {name for command in COMMANDS.values() for param in command.params for name in param.opts}
    assert new in given
    assert old not in given


def test_an_old_option(onnxcam: Callable[..., Ran]) -> None:
    new = onnxcam("explain", SHAPES, PICTURE, "--opacity", "0.5", "-o", "new", "--format", "png")
    old = onnxcam("explain", SHAPES, PICTURE, "--alpha=0.5", "-o", "old", "--format", "png")
    assert (old.code, new.code) == (0, 0)
    warned = f"warning: --alpha is --opacity now; the old name ends with version {ENDS}\n"
    assert old.err.count(warned) == 1
    assert "--alpha" not in new.err
    (first,), (second,) = (list(Path(name).glob("*.png")) for name in ("new", "old"))
    assert first.read_bytes() == second.read_bytes()
    refused = onnxcam("inspect", SHAPES, "--alpha", "0.5")
    assert refused.code == 2  # a command without the new option does not know the old one
    assert "warning" not in refused.err
