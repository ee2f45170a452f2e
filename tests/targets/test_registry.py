"""The registries of kinds and tasks: one registration is enough, and the documentation lists what is registered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.cli.explain import command
from onnxcam.errors import TargetError
from onnxcam.metadata import card
from onnxcam.targets import (
    KINDS,
    TASK_TYPES,
    Goal,
    Look,
    TargetKind,
    Task,
    kinds,
    parse,
    register_kind,
    register_task,
    resolves,
)
from onnxcam.targets.classification import Classes
from onnxcam.targets.kinds import Class, ClassRegion, TensorElement
from onnxcam.targets.notation import count, text
from onnxcam.targets.tensors import Tensors

DOCS = Path(__file__).parents[2] / "docs"
ASSETS = files("onnxcam") / "assets"
MODEL, PICTURE = str(ASSETS / "shapes.onnx"), str(ASSETS / "shapes_1.png")


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo every registration after the test."""
    every: list[Any] = [KINDS, TASK_TYPES, card.TASKS, *(task.resolvers for task in (*TASK_TYPES, Tensors))]
    before = [one.copy() for one in every]
    yield
    for one, old in zip(every, before, strict=True):
        one.clear()
        one.update(old) if isinstance(one, dict) else one.extend(old)


def test_one_registration_adds_a_kind(registries: None) -> None:
    def resolve(task: Classes, target: Any, look: Look) -> Goal:
        worst = task.ranked(look)[-target.count]
        return task.goal(worst, look)

    @register_kind(
        "least=1", help="the score of the class with the lowest score", keys={"least": count}, tasks={Classes: resolve}
    )
    @dataclass(frozen=True)
    class Least(TargetKind):
        count: int

    assert parse("least=2") == Least(2)
    explainer = Explainer(MODEL)
    (scores,) = explainer(PICTURE).outputs.values()
    least = explainer(PICTURE, target="least=1")
    assert least.target == int(np.argmin(scores))
    np.testing.assert_array_equal(least.map, explainer(PICTURE, target=least.target).map)
    np.testing.assert_array_equal(least.map, Explainer(MODEL, target=Least(1))(PICTURE).map)
    with pytest.raises(TargetError, match=r"there is no leest=; there are top, .*, least\. Did you mean 'least'"):
        parse("leest=2")
    with pytest.raises(
        TargetError,
        match=r"what does: as a classifier top, 5, ring, any:0-4, 5-0, not 5, least=1; as an embedding like=FILE, ",
    ):
        explainer(PICTURE, target="detection=1")
    with pytest.raises(TargetError, match="with least= you may give nothing else, not class="):
        parse("least=1 class=3")


def test_the_kinds_of_0_1_are_found_and_warn() -> None:
    for old, new in (("Region", ClassRegion), ("Element", TensorElement)):
        with pytest.warns(DeprecationWarning, match=f"kinds.{old} is onnxcam.targets.kinds.{new.__name__} now"):
            assert getattr(kinds, old) is new
    with pytest.raises(AttributeError, match="no attribute 'Sphere'"):
        kinds.Sphere  # noqa: B018


def test_a_kind_may_read_all_words_and_options_need_their_keys(registries: None) -> None:
    @register_kind("worst!", help="…", read=lambda words, names: Worst() if words == "worst!" else None)
    @dataclass(frozen=True)
    class Worst(TargetKind):
        """Nothing more."""

    @register_kind("part=x", help="…", keys={"part": text}, options={"of": text})
    @dataclass(frozen=True)
    class Part(TargetKind):
        part: str
        of: str = "all"

    assert parse("worst!") == Worst()
    assert parse("worst!", ["worst!"]) == Class("worst!")
    assert parse("part=x") == Part("x")
    assert parse("of=y part=x") == Part("x", "y")
    with pytest.raises(TargetError, match="of= needs part="):
        parse("of=y")


def test_a_task_is_searched_for_where_it_was_registered(registries: None) -> None:
    @dataclass(frozen=True)
    class Nothing(Task):
        name: str = "nothing"
        cards = ("nothing",)

        @classmethod
        def find(cls, *_: Any) -> Iterator[Task]:
            yield cls()

        @resolves(Class)
        def one(self, target: Class, look: Look) -> Goal:
            raise TargetError("nothing has a class")

    register_task(Nothing, before=TASK_TYPES[0])
    assert TASK_TYPES[0] is Nothing
    assert card.TASKS[-1] == "nothing"
    model = onnx.load(MODEL)
    del model.metadata_props[:]
    network = Explainer(model, preprocess="unit").network
    assert [task.name for task in network.tasks] == ["nothing", "a model"]
    assert network.tasks[0].aim is None
    assert network.tasks[0].examples == "281, a label"
    with pytest.raises(TargetError, match="nothing has a class"):
        Explainer(model, preprocess="unit")(PICTURE, target=3)


def _kind(name: str) -> type[TargetKind]:
    """Define and register a kind called *name*, as a cell of a notebook does."""
    return register_kind("peak=1", help="a peak", keys={"peak": count})(
        dataclass(frozen=True)(type(name, (TargetKind,), {"__annotations__": {"number": int}, "__module__": "cell"}))
    )


def test_a_definition_that_runs_again_replaces_the_first(registries: None) -> None:
    first, second = _kind("Peak"), _kind("Peak")
    assert first not in KINDS
    assert type(parse("peak=1")) is second
    tasks = [type("Peaks", (Task,), {"__module__": "cell"}) for _ in range(2)]
    for task in tasks:
        register_task(task, before=Classes)
    assert [task for task in TASK_TYPES if task in tasks] == tasks[1:]


def test_two_kinds_cannot_have_the_same_key(registries: None) -> None:
    _kind("Peak")
    with pytest.raises(TargetError, match="the key peak= belongs to the kind Peak; choose another key"):
        _kind("Summit")


def test_every_kind_is_resolved_by_a_task_and_documented() -> None:
    resolved = {kind for task in (*TASK_TYPES, Tensors) for kind in task.resolvers}
    assert resolved == set(KINDS)
    page = (DOCS / "targets.md").read_text("utf-8")
    section = page.partition("## Every kind")[2].partition("\n## ")[0]
    rows = [f"| {', '.join(f'`{example}`' for example in entry.examples)} | {entry.help} |" for entry in KINDS.values()]
    assert re.findall(r"^\| .*`.*\|$", section, re.MULTILINE) == rows


def test_the_help_of_the_command_line_names_keys_that_there_are() -> None:
    target = get_type_hints(command, include_extras=True)["target"]
    keys = re.findall(r"(\w+)=", target.__metadata__[0].help)
    assert len(keys) > 4
    assert set(keys) <= {key for entry in KINDS.values() for key in entry.readers}


def test_a_task_inherits_the_resolvers_of_its_parent() -> None:
    class Softer(Classes):
        @resolves(Class)
        def softer(self, target: Class, look: Look) -> Goal:
            raise TargetError("softer")

    assert {**Classes.resolvers, Class: Softer.softer} == Softer.resolvers


def test_every_example_is_of_its_kind() -> None:
    for kind, entry in KINDS.items():
        assert entry.help, kind
        assert not entry.help.endswith("."), kind
        for example in entry.examples:
            assert isinstance(parse(example, ["a label"]), kind), example
    assert isinstance(parse("class=3"), ClassRegion)
    assert isinstance(parse("NAME[0]"), TensorElement)


@pytest.mark.parametrize("page", ["add-a-target.md", "add-a-task.md"])
def test_the_pages_run(page: str, registries: None) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    scope: dict[str, Any] = {"__name__": page}
    for block in blocks:
        exec(compile(block, page, "exec", dont_inherit=True), scope)


@pytest.mark.parametrize("page", ["add-a-target.md", "add-a-task.md"])
def test_the_pages_name_files_that_exist(page: str) -> None:
    page_text = (DOCS / page).read_text("utf-8")
    named = re.findall(r"`((?:onnxcam|tests)/[\w/.]+)`", page_text) + [
        f"docs/{name}" for name in re.findall(r"\]\(([\w.-]+)\)", page_text)
    ]
    assert len(named) > 3
    assert [name for name in named if not (DOCS.parent / name).exists()] == []
