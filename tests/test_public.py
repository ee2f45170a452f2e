"""The public names, and the promises that hold for all of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import get_origin

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


def test_every_module_says_its_charter_and_every_public_thing_what_it_does() -> None:
    for info in pkgutil.walk_packages(onnxcam.__path__, "onnxcam."):
        module = importlib.import_module(info.name)
        assert module.__doc__, info.name
        for name in getattr(module, "__all__", []):
            thing = getattr(module, name)
            assert get_origin(thing) or inspect.getdoc(thing), f"{info.name}.{name}"  # not aliases


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    assert errors.__doc__ is not None
    for name, thing in vars(errors).items():
        if inspect.isclass(thing) and issubclass(thing, Exception):
            assert issubclass(thing, errors.OnnxcamError)
            assert name in errors.__doc__


def test_every_method_gives_its_paper_formula_and_an_example() -> None:
    for id, method in METHODS.items():
        doc = inspect.getdoc(method.function) or ""
        assert "Example:" in doc, id
        assert any(f"{year}." in doc for year in range(1300, 2700)), id
        assert f'method="{id}"' in doc, id
