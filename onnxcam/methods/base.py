"""The registry of methods, and what it says of each.

A graph method is one function that emits the map. A procedure runs the model many times (`onnxcam.methods.queries`);
its explanation graph gives what it needs of one pass: another method's map, the layer's activation, or only the score.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import GradientError, MethodError, MissingRuleError, nearest
from onnxcam.methods.plugins import load_installed

__all__ = [
    "AUTO",
    "BATCH_SIZE",
    "COMMON",
    "INDEPENDENT",
    "METHODS",
    "NONE",
    "SMOOTH",
    "SMOOTHINGS",
    "Emit",
    "GraphMethod",
    "Method",
    "MethodsWith",
    "ProcedureMethod",
    "Run",
    "docstring_summary",
    "find_method",
    "method",
    "offering_black_boxes",
    "procedure",
]

AUTO = "auto"
"""In place of a method's id: the default of the model's task."""
SMOOTH, NONE = "smooth", "none"
SMOOTHINGS = (NONE, "aug", "eigen", "aug+eigen")
"""The setting of every CAM of one pass, and its values: see `augment` and `activation.summed`."""

INDEPENDENT = "independent of the class"
"""The words for methods whose maps hardly depend on the target."""

Emit: TypeAlias = Callable[..., ir.Value]
"""A function from a context, and a method's settings, to a tensor of the graph."""
Run: TypeAlias = Callable[..., NDArray[Any]]
"""A function from `ModelQueries`, and a method's settings, to a map."""


@dataclass(frozen=True, kw_only=True)
class _MethodEntry:
    """What the registry says of every method."""

    id: str
    summary: str
    at_layer: bool
    """The map is [N, *space of the layer, or of the input if the method uses none]; else the input's, signed."""
    uses_layer: bool
    of_pixels: bool = False
    """The map has a value of its own for each pixel of the input, and is drawn as such."""
    sensitivity: bool = False
    """The map is a gradient: the effect of a change of the input, not the input's contribution to the score."""
    needs_attention: bool = False
    """The method applies to transformers only, whose graph holds the attention probabilities."""
    needs_detections: bool = False
    """The method applies to detectors only: it compares detections."""
    additive: bool = False
    """The map of a share of the score is that share of the map, so that the maps of the parts of a score add up."""
    sums_channels: bool = False
    """The map is the sum over the input's channels, as relevance is conserved; else their largest magnitude."""
    class_independent: bool = False
    """The map hardly depends on the target: README, `onnxcam inspect` and the warnings of results say so."""
    caveat: str = ""
    """When a map is blank, and what to try then: `onnxcam inspect` and the warning of a blank map say so."""
    needs_words: bool = False
    """The method applies to vision-language decoders only: it explains words."""
    extra: str | None = None
    """The extra of onnxcam that installs the libraries that the method needs."""
    libraries: tuple[str, ...] = ()
    """The modules of these libraries."""


@dataclass(frozen=True, kw_only=True)
class GraphMethod(_MethodEntry):
    """A method whose map one graph computes, in one pass: ``emit(context, **settings)`` emits the map."""

    emit: Emit
    summed: bool = False
    """The map is a sum over channels, for which their principal component may stand."""
    pooled: bool = False
    """A channel has one weight for the whole layer, from the gradient at all its positions."""
    gradient_cam: bool = False
    """A CAM of the gradient of any score; composite methods build on it."""
    weights: Emit | None = None
    """Of a method whose map is ReLU(Σ_k w_k A_k): emits w, [N, K, 1, …], which add up over the parts of a score."""

    in_graph = True
    uses_head = False
    black_box = False

    @property
    def function(self) -> Emit:
        """The function that was entered into the registry."""
        return self.emit

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings by name, with their defaults."""
        own = _settings(self.function)
        return {**own, SMOOTH: NONE} if self.at_layer else own

    def choices(self, setting: str) -> tuple[str, ...]:
        """Return the words that *setting* may be; none for a number."""
        if setting == SMOOTH:
            return SMOOTHINGS if self.summed else SMOOTHINGS[:2]
        return _choices(self.function, setting)


@dataclass(frozen=True, kw_only=True)
class ProcedureMethod(_MethodEntry):
    """A method that runs the model many times: ``run(queries, **settings)`` returns the map of one image.

    ``emit(context)`` emits what it needs of each pass; without, the method is a black-box one, which needs scores only.
    """

    run: Run
    emit: Emit | None
    uses_head: bool = False
    """It needs the scores of changed activations."""

    in_graph = False
    summed = pooled = gradient_cam = False
    weights = None

    @property
    def function(self) -> Run:
        """The function that was entered into the registry."""
        return self.run

    @property
    def black_box(self) -> bool:
        """Whether the method needs nothing of the model but its scores."""
        return self.emit is None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings by name, with their defaults."""
        return {**_settings(self.function), **COMMON}

    def choices(self, setting: str) -> tuple[str, ...]:
        """Return the words that *setting* may be; none for a number."""
        return _choices(self.function, setting)


Method: TypeAlias = GraphMethod | ProcedureMethod

BATCH_SIZE = "batch_size"
COMMON = {BATCH_SIZE: 8}
"""The settings of every procedure: the number of samples in a pass."""

METHODS: dict[str, Method] = {}
"""Every method by its id. The command line, the documentation and the tests read it."""


@dataclass(frozen=True)
class MethodsWith:
    """The type of a setting that is the id of a method with a trait: ``Annotated[str, MethodsWith("black_box")]``."""

    trait: str

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the methods with the trait, in the registry's order."""
        return tuple(method.id for method in METHODS.values() if getattr(method, self.trait))


def method(
    id: str,
    *,
    at_layer: bool,
    uses_layer: bool | None = None,
    of_pixels: bool = False,
    summed: bool = False,
    class_independent: bool = False,
    caveat: str = "",
    pooled: bool = False,
    gradient_cam: bool = False,
    sensitivity: bool = False,
    needs_attention: bool = False,
    additive: bool = False,
    sums_channels: bool = False,
    needs_words: bool = False,
    weights: Emit | None = None,
) -> Callable[[Emit], Emit]:
    """Enter the function below, which emits the map, into the registry as method *id*; see `GraphMethod`."""

    def enter(function: Emit) -> Emit:
        _require_free(id, function)
        METHODS[id] = GraphMethod(
            id=id,
            summary=docstring_summary(function),
            at_layer=at_layer,
            uses_layer=at_layer if uses_layer is None else uses_layer,
            of_pixels=of_pixels or not at_layer,
            emit=function,
            summed=summed,
            class_independent=class_independent,
            caveat=caveat,
            pooled=pooled,
            gradient_cam=gradient_cam,
            sensitivity=sensitivity,
            needs_attention=needs_attention,
            additive=additive,
            sums_channels=sums_channels,
            needs_words=needs_words,
            weights=weights,
        )
        return function

    return enter


def procedure(
    id: str,
    *,
    around: Emit | None,
    at_layer: bool,
    uses_layer: bool = False,
    uses_head: bool = False,
    sensitivity: bool = False,
    needs_detections: bool = False,
    additive: bool = False,
    class_independent: bool = False,
    extra: str | None = None,
    libraries: tuple[str, ...] = (),
) -> Callable[[Run], Run]:
    """Enter the function below into the registry as method *id*; each pass emits *around*. See `ProcedureMethod`."""

    def enter(function: Run) -> Run:
        _require_free(id, function)
        METHODS[id] = ProcedureMethod(
            id=id,
            summary=docstring_summary(function),
            at_layer=at_layer,
            uses_layer=uses_layer,
            of_pixels=not at_layer,
            run=function,
            emit=around,
            uses_head=uses_head,
            sensitivity=sensitivity,
            needs_detections=needs_detections,
            additive=additive,
            class_independent=class_independent,
            extra=extra,
            libraries=libraries,
        )
        return function

    return enter


def _require_free(id: str, function: Callable[..., Any]) -> None:
    """Raise MethodError where *id* is no id, or another function's; a cell of a notebook may run again."""
    if not _ID.fullmatch(id) or id == AUTO:
        raise MethodError(f"a method cannot be called {id!r}: an id has letters, digits and the signs - + . _ only")
    known = METHODS.get(id)
    if known is not None and not _origins(known.function) & _origins(function):
        raise MethodError(
            f"the method {id!r} of {function.__module__} has the id of one of {known.function.__module__}; "
            "choose another id"
        )


def _origins(function: Callable[..., Any]) -> set[tuple[str, str]]:
    """Return where *function* is defined: its module, and its file, which may run as a module of another name."""
    code = getattr(function, "__code__", None)
    places = [function.__module__, *([] if code is None else [code.co_filename])]
    return {(place, function.__qualname__) for place in places}


_ID = re.compile(r"[\w.+-]+")


def _settings(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of *function* after the first one, with their defaults."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def _choices(function: Callable[..., Any], setting: str) -> tuple[str, ...]:
    kind = get_type_hints(function, include_extras=True)[setting]
    found = get_args(kind)
    return found[1].ids if get_origin(kind) is Annotated else found


def docstring_summary(function: Callable[..., Any]) -> str:
    """Return the first line of the docstring of *function*; nothing where it has none."""
    return (function.__doc__ or "").strip().partition("\n")[0]


def find_method(id: str) -> Method:
    """Return the method called *id*; MethodError, offering the nearest, where there is none."""
    broken = load_installed() if id not in METHODS else ()
    if id not in METHODS:
        offered = f"{nearest(id, METHODS)} `onnxcam inspect MODEL` lists all {len(METHODS)}"
        raise MethodError(" ".join([f"no method is called {id!r}.{offered}", *broken]))
    return METHODS[id]


@contextmanager
def offering_black_boxes() -> Iterator[None]:
    """Where no gradient passes, name the black-box methods in the error."""
    try:
        yield
    except (MissingRuleError, GradientError) as error:
        *most, last = (id for id in MethodsWith("black_box").ids if not METHODS[id].needs_detections)
        raise type(error)(
            f"{error}; or use --method {', '.join(most)} or {last}, which need no gradient (`onnxcam inspect` lists "
            "all that apply)"
        ) from error
