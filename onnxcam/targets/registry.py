"""The registries: each kind of target with its notation, and each task with the kinds that it resolves.

The parser, the error messages, `onnxcam inspect` and the table in docs/targets.md read them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias, TypeVar

from onnxcam.errors import TargetError
from onnxcam.metadata import card
from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import Aim
from onnxcam.targets.dense import DenseOutput
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.notation import quoted

__all__ = [
    "KINDS",
    "TASK_TYPES",
    "KindEntry",
    "TargetKind",
    "Task",
    "register_kind",
    "register_task",
    "resolves",
]

_ReadValue: TypeAlias = Callable[[str, int, str], Any]
"""From all words, the value's place in them and the value to what it means (`onnxcam.targets.notation`)."""
_ReadWords: TypeAlias = "Callable[[str, Collection[str]], TargetKind | None]"
"""From all words and the folded class names to a target; None where the words are of another kind."""
_Resolver: TypeAlias = "Callable[[Any, Any, Any], Goal]"
"""From a task, a target and a `Look` at the image to the resolved target."""
_K = TypeVar("_K", bound="type[TargetKind]")
_M = TypeVar("_M", bound=Callable[..., Goal])


class TargetKind:
    """Base of every kind of target. A kind is a frozen dataclass: what the user asks for, as data."""

    def __str__(self) -> str:
        """Return the target in words, if its notation has keys; other kinds have a method of their own."""
        entry = KINDS[type(self)]
        parts = zip(entry.readers, fields(self), strict=False)  # type: ignore[arg-type]
        values = {key: getattr(self, part.name) for key, part in parts if getattr(self, part.name) is not part.default}
        return " ".join(f"{key}={_written(value)}" for key, value in values.items()) or entry.examples[0]


def _written(value: object) -> str:
    return ",".join(f"{x:g}" for x in value) if isinstance(value, tuple) else quoted(value)


@dataclass(frozen=True)
class KindEntry:
    """One kind of target and its notation, as `register_kind` takes it."""

    type: type[TargetKind]
    examples: tuple[str, ...]
    help: str
    keys: Mapping[str, _ReadValue] = field(default_factory=dict)
    options: Mapping[str, _ReadValue] = field(default_factory=dict)
    exclusive: frozenset[str] = frozenset()
    read: _ReadWords | None = None

    @property
    def readers(self) -> dict[str, _ReadValue]:
        """Return all keys and their readers."""
        return {**self.keys, **self.options}

    def allows(self, given: Collection[str]) -> bool:
        """Return whether the keys *given* may be given together."""
        both = bool(self.exclusive) and self.exclusive <= set(given)
        return set(given) <= self.readers.keys() and not both

    def make(self, values: Mapping[str, Any]) -> TargetKind:
        """Return the target with *values* by key; a missing key takes the default of its field."""
        names = {key: part.name for key, part in zip(self.readers, fields(self.type), strict=True)}  # type: ignore[arg-type]
        return self.type(**{names[key]: value for key, value in values.items()})


KINDS: dict[type[TargetKind], KindEntry] = {}
"""Every kind of target."""


def register_kind(
    *examples: str,
    help: str,
    keys: Mapping[str, _ReadValue] | None = None,
    options: Mapping[str, _ReadValue] | None = None,
    exclusive: Collection[str] = (),
    read: _ReadWords | None = None,
    tasks: Mapping[type[Task], _Resolver] | None = None,
) -> Callable[[_K], _K]:
    """Register the decorated dataclass as a kind of target, in place of an earlier definition of the same class.

    Args:
        examples: Targets of this kind as the user writes them, for messages and documentation.
        help: One line for the documentation: the explained scalar.
        keys: Readers of the ``key=value`` pairs that select this kind, in the order of the dataclass's fields.
        options: Readers of the pairs that may follow, for the remaining fields.
        exclusive: Keys that cannot be given together.
        read: A reader of words that are not ``key=value`` pairs.
        tasks: Resolvers by task, for tasks defined elsewhere. A task's own methods use `resolves`.

    Raises:
        TargetError: another kind has one of the *keys*.
    """

    def enter(kind: _K) -> _K:
        _forget(kind, keys or {})
        KINDS[kind] = KindEntry(kind, examples, help, keys or {}, options or {}, frozenset(exclusive), read)
        for task, resolver in (tasks or {}).items():
            task.resolvers[kind] = resolver
        return kind

    return enter


def _forget(kind: type[TargetKind], keys: Collection[str]) -> None:
    """Remove an earlier definition of *kind*; TargetError if another kind has one of its *keys*."""
    for known, entry in list(KINDS.items()):
        taken = entry.keys.keys() & keys
        if _is_redefined(known, kind):
            del KINDS[known]
        elif taken:
            raise TargetError(f"the key {min(taken)}= belongs to the kind {known.__name__}; choose another key")


def _is_redefined(known: type, new: type) -> bool:
    """Return whether *new* is another definition of *known*: a cell of a notebook that runs again."""
    return (known.__module__, known.__qualname__) == (new.__module__, new.__qualname__)


def resolves(*kinds: type[TargetKind]) -> Callable[[_M], _M]:
    """Mark a method of a task as the resolver of *kinds*: it takes the target and the `Look`, and returns a `Goal`."""

    def mark(method: _M) -> _M:
        method.kinds = kinds  # type: ignore[attr-defined]
        return method

    return mark


class Task:
    """What a model does, such as classification. A subclass is a dataclass that holds where the model puts it out.

    The method `find` recognises the task in a graph; each method marked by `resolves` resolves kinds of targets.
    """

    name: str
    """The model in words, for messages: "a classifier"."""
    cards: ClassVar[tuple[str, ...]] = ()
    """The values of `task` in a model's card that mean this task."""
    method: ClassVar[str] = "layercam"
    """The default method: position by position, for targets that are one place of the output (docs/truth.md)."""
    sees_centre: ClassVar[bool] = False
    """Whether such models usually see the centre of an image: a guessed preprocessing crops for them only."""
    warnings: tuple[str, ...] = ()
    """What is wrong with the file's outputs, whatever the image; a subclass may make it a field or a property."""
    source: str = "shapes"
    """How the task is known, a key of `onnxcam.metadata.reading.SOURCES`; a subclass may make it a field."""
    resolvers: ClassVar[dict[type[TargetKind], _Resolver]] = {}
    """Every kind of target that the task resolves, and how."""

    def __init_subclass__(cls) -> None:
        """Collect the methods marked by `resolves`, after those of the parent."""
        own = {kind: method for method in vars(cls).values() for kind in getattr(method, "kinds", ())}
        cls.resolvers = {**cls.resolvers, **own}

    @property
    def id(self) -> str:
        """Return one word for the task: a value of `task` in a card where there is one, else the class's name."""
        return self.cards[0] if self.cards else type(self).__name__.lower()

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task for each output that fits *evidence*; *known*: the user or the card names the task."""
        raise NotImplementedError

    def parts(self) -> Iterator[Part]:
        """Yield what was read of the model besides the task itself, such as which output holds the scores."""
        yield from ()

    @property
    def aim(self) -> Aim | None:
        """Return the aim of the default target; None where the user has to name one."""
        return None

    @property
    def dense(self) -> DenseOutput | None:
        """Return the output that has a value for each place of the image; None where no output has."""
        return None

    @property
    def kinds(self) -> tuple[type[TargetKind], ...]:
        """Return the kinds of targets that the task resolves."""
        return tuple(self.resolvers)

    @property
    def examples(self) -> str:
        """Return targets in words, for messages."""
        return ", ".join(self.suggested)

    @property
    def suggested(self) -> list[str]:
        """Return targets in words, each by itself. Those with FILE need a file of the user."""
        return [example for kind in self.resolvers for example in self._examples(kind)]

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        return KINDS[kind].examples

    def goal(self, target: TargetKind, look: Look) -> Goal:
        """Resolve *target*, of one of `kinds`; TargetError where the image has no such thing."""
        return self.resolvers[type(target)](self, target, look)


TASK_TYPES: list[type[Task]] = []
"""Every task, in the order in which a graph is searched for them."""


def register_task(task: type[Task], before: type[Task] | None = None) -> None:
    """Register *task*: it is searched for before the task *before*, else after all others.

    It replaces an earlier definition of the same class.
    """
    TASK_TYPES[:] = [known for known in TASK_TYPES if not _is_redefined(known, task)]
    TASK_TYPES.insert(len(TASK_TYPES) if before is None else TASK_TYPES.index(before), task)
    card.TASKS.extend(id for id in task.cards if id not in card.TASKS)
