"""Find the nodes of a model that execution providers do not support, by their published operator lists.

The lists are in ``providers.json``; docs/providers.md gives their sources.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx.defs import OpSchema, SchemaError, get_schema

from onnxcam import paths
from onnxcam.autodiff import STANDARD
from onnxcam.bake.classification import ClassPlan
from onnxcam.bake.outputs import explained
from onnxcam.errors import OnnxcamError, ProviderError, nearest
from onnxcam.graph.io import ModelLike, building, load
from onnxcam.graph.subgraph import prune
from onnxcam.metadata.reserved import CLASS, HEATMAP, OVERLAY
from onnxcam.methods import METHODS
from onnxcam.model.diagnose import choose_layer
from onnxcam.model.prepared import PreparedModel
from onnxcam.passes import canonical
from onnxcam.passes.inline import inline_functions
from onnxcam.passes.shapes import infer_shapes
from onnxcam.targets import ClassAim, find_scores

__all__ = [
    "FOLDED",
    "TABLE",
    "Kernel",
    "Provider",
    "ProviderSupport",
    "Unsupported",
    "inspect",
    "named",
    "providers",
    "support",
]

TABLE = Path(__file__).with_name("providers.json")
FOLDED = frozenset(("Constant",))  # runtimes fold these before they ask a provider


@dataclass(frozen=True)
class Kernel:
    """Entry of a list: an operator as defined in the opsets *first* to *last* (None: all later ones)."""

    first: int
    last: int | None
    types: Mapping[str, frozenset[str]]  # allowed types, by type variable or input index
    note: str = ""


@dataclass(frozen=True)
class Provider:
    """Execution provider with its published operator list."""

    id: str
    title: str
    version: str
    source: str
    date: str
    kernels: Mapping[str, Sequence[Kernel]]  # by operator; "domain:name" outside the default domain
    note: str = ""
    static: bool = False  # whether all shapes must be static
    fallback: bool = False  # whether it expands operators with a function body and casts float16
    opsets: tuple[int, int] | None = None


@dataclass(frozen=True)
class Unsupported:
    """Unsupported nodes of one operator, opset and dtype, and the reason."""

    operator: str
    opset: int
    dtype: str
    why: str
    nodes: tuple[str, ...]


@dataclass
class ProviderSupport:
    """Support of a model by one provider."""

    provider: Provider
    nodes: int
    lacks: list[Unsupported]
    limits: dict[str, str]  # notes on listed operators of the model
    warnings: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)  # methods whose baked map needs no further support

    def as_dict(self) -> dict[str, Any]:
        """Return the content of the JSON output."""
        known = self.provider
        return {
            "provider": known.id,
            "version": known.version,
            "source": known.source,
            "date": known.date,
            "nodes": self.nodes,
            "lacks": [{**vars(lack), "nodes": list(lack.nodes)} for lack in self.lacks],
            "limits": self.limits,
            "warnings": self.warnings,
            "methods": self.methods,
        }


@cache
def providers(path: Path = TABLE) -> Mapping[str, Provider]:
    """Return all providers by id; raise ProviderError if the table is invalid."""
    try:
        entries = json.loads(paths.read_text(path, ProviderError, "table of providers"))
        return {name: _provider(name, entry, entries) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProviderError(f"'{path}' is no table of providers: {error!r}; see docs/providers.md") from None


def named(words: str) -> list[Provider]:
    """Return the providers in ``"cpu,nnapi"``, or all for ``"all"``; raise ProviderError for an unknown one."""
    table = providers()
    names = list(table) if words == "all" else [word.strip().lower() for word in words.split(",") if word.strip()]
    for name in names or [""]:
        if name not in table:
            raise ProviderError(
                f"no operator list of {name!r}; there is all, {', '.join(table)}.{nearest(name, table)}"
            )
    return [table[name] for name in dict.fromkeys(names)]


def inspect(source: ModelLike, chosen: Iterable[Provider]) -> list[ProviderSupport]:
    """Return the support of a model by the *chosen* providers, and the methods whose maps they support too.

    Raises:
        ModelError: the model is invalid.

    Example:
        >>> for found in inspect("explained.onnx", named("nnapi,qnn")):
        ...     print(found.provider.title, [lack.operator for lack in found.lacks])
    """
    model = load(source)
    inline_functions(model, ())
    infer_shapes(model, STANDARD.compositions)
    found = [support(model, provider) for provider in chosen]
    own = [{(lack.operator, lack.dtype) for lack in support(_plain(model), each.provider).lacks} for each in found]
    try:
        for method, made in _explained(model):
            for each, lacked in zip(found, own, strict=True):
                if {(lack.operator, lack.dtype) for lack in support(made, each.provider).lacks} <= lacked:
                    each.methods.append(method)
    except OnnxcamError as error:
        for each in found:
            each.warnings.append(f"which methods would do is unknown: {error}")
    return found


def support(model: ir.Model, provider: Provider) -> ProviderSupport:
    """Return the support of *model* by *provider*; shapes and dtypes must be inferred."""
    lacking: dict[tuple[str, int, str, str], list[str]] = defaultdict(list)
    limits: dict[str, str] = {}
    nodes = [node for node in model.graph.all_nodes() if node.op_type not in FOLDED]
    for node in nodes:
        name, schema = _name(node), _schema(node, model)
        version = schema.since_version if schema else 1
        kernel, why = _kernel(provider, name, version, node, schema)
        if why:
            lacking[name, version, _dtype(node), why].append(node.name or node.outputs[0].name or "?")
        elif kernel is not None and kernel.note:
            limits[name] = kernel.note
    lacks = [Unsupported(*key, tuple(names)) for key, names in sorted(lacking.items())]
    return ProviderSupport(provider, len(nodes), lacks, dict(sorted(limits.items())), list(_warnings(model, provider)))


def _warnings(model: ir.Model, provider: Provider) -> Iterator[str]:
    opset = model.opset_imports.get("", 0)
    if provider.opsets is not None and not provider.opsets[0] <= opset <= provider.opsets[1]:
        yield f"opset {opset} is outside {provider.opsets[0]} to {provider.opsets[1]}"
    loose = [x.name for x in model.graph.inputs if x.shape is None or any(not isinstance(d, int) for d in x.shape)]
    if provider.static and loose:
        yield f"all shapes must be fixed; those of {', '.join(map(repr, loose))} are not"


def _kernel(
    provider: Provider, name: str, version: int, node: ir.Node, schema: OpSchema | None
) -> tuple[Kernel | None, str]:
    """Return the entry for *node*, or the reason if there is none."""
    kernels = provider.kernels.get(name, ())
    split: Any = schema  # its stub lacks function bodies
    if provider.fallback and split and (split.has_function or split.has_context_dependent_function):
        return None, ""
    if not kernels:
        return None, "not in the list"
    fitting = [each for each in kernels if each.first <= version and (each.last is None or version <= each.last)]
    if not fitting:
        spans = ", ".join(f"{each.first} to {each.last}" if each.last else f"{each.first}+" for each in kernels)
        return None, f"in the list as of opset {spans} only"
    wrong = [_wrong(each, node, schema, provider.fallback) for each in fitting]
    return next(((each, "") for each, no in zip(fitting, wrong, strict=True) if not no), (None, wrong[0]))


def _wrong(kernel: Kernel, node: ir.Node, schema: OpSchema | None, casts: bool) -> str:
    """Return the reason why the entry does not accept a dtype of *node*, or ""."""
    for key, types in kernel.types.items():
        for value in _of(key, node, schema):
            dtype = str(value.dtype).lower() if value is not None and isinstance(value.type, ir.TensorType) else ""
            if dtype and dtype not in types and not (casts and dtype == "float16" and "float" in types):
                return f"not for {dtype}"
    return ""


def _of(key: str, node: ir.Node, schema: OpSchema | None) -> Iterator[ir.Value | None]:
    """Yield the inputs and outputs of *node* with the type variable *key*, or the input with this index."""
    if key.isdigit():
        yield from node.inputs[int(key) : int(key) + 1]
        return
    for values, formal in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)) if schema is not None else ():
        for i, value in enumerate(values):
            parameter = formal[min(i, len(formal) - 1)]
            if value is not None and key in (parameter.type_str, parameter.name):
                yield value


def _name(node: ir.Node) -> str:
    return f"{node.domain}:{node.op_type}" if node.domain else node.op_type


def _schema(node: ir.Node, model: ir.Model) -> OpSchema | None:
    try:
        return get_schema(node.op_type, model.opset_imports.get(node.domain, 1), node.domain)
    except SchemaError:
        return None


def _dtype(node: ir.Node) -> str:
    known = [value.dtype for value in (*node.inputs[:1], *node.outputs[:1]) if value is not None and value.dtype]
    return str(known[0]).lower() if known else "?"


def _plain(model: ir.Model) -> ir.Model:
    """Return a copy of *model* without the outputs of `bake`."""
    copy = model.clone()
    graph = copy.graph
    graph.outputs[:] = [value for value in graph.outputs if value.name not in (HEATMAP, OVERLAY)]
    prune(graph)
    for value in [value for value in graph.inputs if value.name == CLASS and not value.uses()]:
        graph.inputs.remove(value)
    return copy


def _explained(model: ir.Model) -> Iterator[tuple[str, ir.Model]]:
    """Yield the model baked with each method that applies, for batch size 1 and a fixed class.

    The map has the layer's size, which needs the fewest operators.
    """
    with building():
        plain = canonical(_plain(model), STANDARD)
        image = PreparedModel.of(plain).image
        if image.shape is not None and not isinstance(image.shape[0], int):
            image.shape = ir.Shape([1, *image.shape[1:]])
            infer_shapes(plain, STANDARD.compositions, anew=True)
        subject = PreparedModel.of(plain)
        find_scores(subject.model.graph)
        choice = choose_layer(subject, ClassAim(), None)
    for method in METHODS.values():
        if not method.in_graph:
            continue
        twin = subject.twin()
        try:
            with building():
                explained(twin, method, choice if method.uses_layer else None, ClassPlan(ClassAim(), 0))
        except OnnxcamError:
            continue
        yield method.id, twin.model


def _provider(name: str, entry: Mapping[str, Any], entries: Mapping[str, Any]) -> Provider:
    operators = entries[entry["same"]]["operators"] if "same" in entry else entry["operators"]
    low, high = entry.get("opsets", (0, 0))
    return Provider(
        id=name,
        title=_word(entry["title"]),
        version=_word(entry["version"]),
        source=_word(entry["source"]),
        date=_word(entry["date"]),
        kernels={op: tuple(map(_entry, kernels)) for op, kernels in operators.items()},
        note=entry.get("note", ""),
        static=entry.get("static", False),
        fallback=entry.get("fallback", False),
        opsets=(low, high) if high else None,
    )


def _word(word: Any) -> str:
    if not isinstance(word, str) or not word:
        raise ValueError(f"{word!r} is no text")
    return word


def _entry(entry: Mapping[str, Any]) -> Kernel:
    first, last = entry["opset"]
    if not isinstance(first, int) or not (last is None or last >= first):
        raise ValueError(f"opsets {first} to {last}")
    types = {key: frozenset(words.split()) for key, words in entry.get("types", {}).items()}
    return Kernel(first, last, types, entry.get("note", ""))
