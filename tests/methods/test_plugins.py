"""Methods of the user: a module of ``--import``, and the entry points of an installed package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest

from onnxcam.errors import MethodError
from onnxcam.inspection import survey
from onnxcam.methods import METHODS, find_method
from onnxcam.methods.plugins import load_installed
from tests.command import Ran

SHAPES = Path(str(resources.files("onnxcam") / "assets" / "shapes.onnx"))
PICTURE = SHAPES.with_name("shapes_1.png")
CAM = """
from onnxcam.methods import method
from onnxcam.methods.activation import weighted

@method({id!r}, at_layer=True)
def {name}(context, share: float = 1.0):
    \"\"\"L = Σ_k share A_k.\"\"\"
    op = context.op
    return op.Mul(op.ReduceSum(context.activation(), [1], keepdims=0), share)
"""


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Forget methods, modules and entry points after the test."""
    methods, modules, path = dict(METHODS), set(sys.modules), list(sys.path)
    load_installed.cache_clear()
    yield
    METHODS.clear()
    METHODS.update(methods)
    for name in set(sys.modules) - modules:
        if name.startswith("mine"):
            del sys.modules[name]
    sys.path[:] = path
    load_installed.cache_clear()


def installed(folder: Path, entries: str) -> None:
    """Make a distribution in *folder* and put it on the path."""
    about = folder / "mine_cams-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-cams\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[onnxcam.methods]\n{entries}\n")
    sys.path.insert(0, str(folder))


def test_import_of_a_file_or_a_module(onnxcam: Callable[..., Ran]) -> None:
    Path("mine_cam.py").write_text(CAM.format(id="mine", name="mine"), encoding="utf-8")
    for name in ("mine_cam.py", "mine_cam"):
        METHODS.pop("mine", None)
        sys.modules.pop("mine_cam", None)
        ran = onnxcam("explain", SHAPES, PICTURE, "-m", "mine", "--set", "share=2", "--import", name, "-o", "out")
        assert ran.code == 0, ran.err
        assert list(Path("out").glob("shapes_1-*-mine-share-2-raw.npy"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            CAM.format(id="gradcam", name="mine"),
            "the method 'gradcam' of mine_cam has the id of one of onnxcam.methods",
        ),
        (CAM.format(id="my cam", name="mine"), "a method cannot be called 'my cam': an id has letters, digits and"),
        ("x = (", "SyntaxError in line 1: '(' was never closed"),
        ("\nimport mine_other", "ModuleNotFoundError in mine_cam.py, line 2: No module named 'mine_other'"),
        ("raise SystemExit(3)", "SystemExit in mine_cam.py, line 1: 3"),
        (None, "there is no such file"),
    ],
)
def test_what_cannot_be_imported_is_one_line(onnxcam: Callable[..., Ran], text: str | None, says: str) -> None:
    if text is not None:
        Path("mine_cam.py").write_text(text, encoding="utf-8")
    ran = onnxcam("inspect", SHAPES, "--import", "mine_cam.py")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "--import mine_cam.py: " in ran.err
    assert says in ran.err


def test_a_module_that_is_not_there(onnxcam: Callable[..., Ran]) -> None:
    for name, what in (("./", "a folder"), ("cams/mine", "no .py file")):
        ran = onnxcam("inspect", SHAPES, "--import", name)
        assert (ran.code, f"--import {name}: it is {what}; give a .py file, or the name of" in ran.err) == (2, True)
    ran = onnxcam("inspect", SHAPES, "--import", "mine.cams")
    assert (ran.code, "--import mine.cams: no module of that name is in this folder or installed" in ran.err) == (
        2,
        True,
    )


def test_entry_points_are_methods(tmp_path: Path) -> None:
    (tmp_path / "mine_cams.py").write_text(CAM.format(id="mine-installed", name="mine"))
    installed(tmp_path, "mine-installed = mine_cams:mine\nbroken = mine_broken\ntaken = mine_taken")
    (tmp_path / "mine_taken.py").write_text(CAM.format(id="layercam", name="mine"))
    assert find_method("mine-installed").summary == "L = Σ_k share A_k."
    with pytest.raises(MethodError, match=r"'broken' of mine-cams fails .mine_broken.: ModuleNotFoundError: No module"):
        find_method("broken")
    found = survey(SHAPES)
    assert found.methods["mine-installed"] == ""
    assert any(
        "'taken' of mine-cams fails (mine_taken): MethodError: the method 'layercam'" in one for one in found.warnings
    )
