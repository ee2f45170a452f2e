"""The public names, and the promises that hold for all of them."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from types import ModuleType
from typing import TypeVar

import pytest

import onnxcam
from onnxcam import errors
from onnxcam.methods import METHODS


def test_public_names_exist_and_are_all_there_is() -> None:
    for name in onnxcam.__all__:
        assert getattr(onnxcam, name) is not None
    assert set(onnxcam.__all__) <= set(dir(onnxcam))
    assert callable(onnxcam.explain)
    importlib.import_module("onnxcam.explainer")
    assert callable(onnxcam.explain)  # still the function


MODULES = ["onnxcam", *(info.name for info in pkgutil.walk_packages(onnxcam.__path__, "onnxcam."))]


def defined(module: ModuleType) -> set[str]:
    """Return the public names that *module* defines; a package also those that it imports from its own files."""
    names = set[str]()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and hasattr(module, "__path__") and _inside(node.module, module):
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith("_")}


def _inside(name: str | None, package: ModuleType) -> bool:
    return f"{name}.".startswith(f"{package.__name__}.")


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_every_public_name(name: str) -> None:
    module = importlib.import_module(name)
    if listed := getattr(module, "__all__", None):
        assert len(listed) == len(set(listed))
        types = {name for name in defined(module) if isinstance(getattr(module, name, None), TypeVar)}
        assert defined(module) - set(listed) - types == set()
        assert [name for name in listed if not hasattr(module, name)] == []


SHORTHANDS = {"Array", "Arrays", "Feeds"}
"""Short names of numpy arrays that several modules give themselves."""


def test_a_class_or_a_type_has_its_name_for_itself() -> None:
    homes = defaultdict[str, list[str]](list)
    for module in MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            name = node.name if isinstance(node, ast.ClassDef) else getattr(target, "id", "")
            if re.match("_?[A-Z]", name) and not name.isupper():
                homes[name.lstrip("_")].append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1 and name not in SHORTHANDS} == {}


def test_every_module_says_its_charter_and_every_public_thing_what_it_does() -> None:
    for info in pkgutil.walk_packages(onnxcam.__path__, "onnxcam."):
        module = importlib.import_module(info.name)
        assert module.__doc__, info.name
        for name in getattr(module, "__all__", []):
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                assert inspect.getdoc(thing), f"{info.name}.{name}"  # not aliases


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    assert errors.__doc__ is not None
    for name, thing in vars(errors).items():
        if inspect.isclass(thing) and issubclass(thing, Exception) and not issubclass(thing, Warning):
            assert issubclass(thing, errors.OnnxcamError)
            assert name in errors.__doc__


def test_every_method_gives_its_paper_formula_and_an_example() -> None:
    for id, method in METHODS.items():
        doc = inspect.getdoc(getattr(method, "run", None) or method.emit) or ""
        assert "Example:" in doc, id
        assert any(f"{year}." in doc for year in range(1300, 2700)), id
        assert f'method="{id}"' in doc, id
