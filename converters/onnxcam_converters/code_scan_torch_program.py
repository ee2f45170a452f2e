"""Scan the strings of an exported program: PyTorch evaluates some of them and writes others into Python code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["code_in_program", "is_length_arithmetic"]

_NAMESPACES = "aten|prims|quantized|quantized_decomposed|torchao|torchvision"
_HIGHER_ORDER = (
    "associative_scan|auto_functionalized|auto_functionalized_v2|checkpoint|cond|flex_attention|invoke_subgraph|"
    "map|map_impl|out_dtype|scan|strict_mode|tag_activation_checkpoint|while_loop|wrap|"
    "wrap_activation_checkpoint|wrap_with_autocast|wrap_with_set_grad_enabled"
)
_OPERATOR = re.compile(
    rf"torch\.ops\.({_NAMESPACES})\.(?!from_file|save\b|load\b)\w+(\.(?!__)\w+)?|torch\.ops\.higher_order\.({_HIGHER_ORDER})"
    r"|_operator\.(?!attrgetter|methodcaller|itemgetter|call\b)[a-z_]+|math\.[a-z0-9]+|torch\.(_sym_|sym_)\w+"
)
_NAME = re.compile(r"([^\W\d]\w*)?")
_TEXT = re.compile(r"[^\"'\\\x00-\x1f\x7f]*")
_WORD = re.compile(r"[\w.+-]*")
_FREE = ("as_string", "as_strings", "metadata")  # kept as data, or printed with quotes

_FUNCTIONS = frozenset(
    """Abs Add And CeilDiv CeilToInt CleanDiv Eq Equality Float FloatPow FloatTrueDiv FloorDiv FloorToInt Ge
    GreaterThan Gt ITE Identity IntTrueDiv Integer IsNonOverlappingAndDenseIndicator LShift Le LessThan Lt Max Min Mod
    ModularIndexing Mul Ne Not Or Piecewise Pow PowByNatural PythonMod RShift Rational RoundDecimal RoundToInt
    StrictGreaterThan StrictLessThan Symbol ToFloat TruncToFloat TruncToInt Unequality Where abs acos asin atan
    bool cast_symbool_to_symint_guardless ceiling cos cosh exp float floor int log max min round sin sinh sqrt tan
    tanh""".split()
)
_METHODS = ("size", "stride", "storage_offset", "dim", "numel", "item")
_POWERS = ("Pow", "PowByNatural", "FloatPow", "LShift")
_EXPONENT = 64
_PLAIN = (
    ast.Expression, ast.Name, ast.Load, ast.keyword, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.Tuple,
    ast.And, ast.Or, ast.Not, ast.UAdd, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow,
    ast.LShift, ast.RShift, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
)  # fmt: skip


def code_in_program(text: bytes) -> Iterator[str]:
    """Yield the strings of the program (JSON) other than names, known operators and arithmetic on lengths."""
    try:
        program = json.loads(text)
    except (ValueError, RecursionError):  # PyTorch cannot read it either
        return
    for key, string in _strings(program, ""):
        if not _check(key)(string):
            shown = string if len(string) <= 60 else f"{string[:60]}…"
            yield f"{shown!r} as {key!r} of its program, which could run any code"


def _strings(part: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for name, inner in part.items():
            if name not in _FREE:
                yield "", name
                yield from _strings(inner, name)
    elif isinstance(part, list):
        for inner in part:
            yield from _strings(inner, key)
    elif isinstance(part, str):
        yield key, part


def _check(key: str) -> Callable[[str], Any]:
    checks: dict[str, Callable[[str], Any]] = {
        "expr_str": is_length_arithmetic,
        "guards_code": is_length_arithmetic,
        "in_spec": _inputs,
        "out_spec": _nested,
        "target": _OPERATOR.fullmatch,
        "as_operator": _OPERATOR.fullmatch,
        **dict.fromkeys(("name", "as_name", "forward_arg_names"), _NAME.fullmatch),
    }
    return checks.get(key, _TEXT.fullmatch)


def is_length_arithmetic(text: str) -> bool:
    """Return whether *text* only compares and combines numbers and lengths of tensors."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(map(_plain, ast.walk(tree)))


def _plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) or (
            isinstance(node.value, str) and bool(_WORD.fullmatch(node.value))
        )
    if isinstance(node, ast.Call):
        return _callable(node.func) and not _explodes(node)
    if isinstance(node, ast.Attribute):
        return node.attr in _METHODS or (isinstance(node.value, ast.Name) and _of_module(node.value.id, node.attr))
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant)
    return isinstance(node, _PLAIN) and not _explodes(node)


def _callable(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) or (isinstance(called, ast.Name) and called.id in _FUNCTIONS)


def _of_module(module: str, name: str) -> bool:
    return (module == "math" and name.isalnum()) or (module == "torch" and name.startswith(("sym_", "_sym_")))


def _explodes(node: ast.AST) -> bool:
    """Return whether *node* is a power of a power, or has an exponent above `_EXPONENT`."""
    if not _is_power(node):
        return False
    inside = [each for child in ast.iter_child_nodes(node) for each in ast.walk(child)]
    exponent = node.right if isinstance(node, ast.BinOp) else node.args[-1] if isinstance(node, ast.Call) else node
    numbers = [each.value for each in ast.walk(exponent) if isinstance(each, ast.Constant)]
    return any(map(_is_power, inside)) or any(isinstance(x, int | float) and x > _EXPONENT for x in numbers)


def _is_power(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _POWERS and bool(node.args)
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.LShift)


def _inputs(text: str) -> bool:
    """Return whether *text*, the structure of the arguments, imports no class and has valid keyword names."""
    if not text or not _nested(text):
        return not text
    arguments = json.loads(text)[1]["children_spec"]
    keywords = [json.loads(each["context"] or "null") or [] for each in arguments[1:2]]
    return all(isinstance(name, str) and _NAME.fullmatch(name) for names in keywords for name in names)


def _nested(text: str) -> bool:
    """Return whether *text*, a structure of nested values, imports no class."""
    try:
        return not text or all(map(_importless, _nodes(json.loads(text)[1])))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return False


def _nodes(spec: Any) -> Iterator[Any]:
    yield spec
    for child in spec["children_spec"]:
        yield from _nodes(child)


def _importless(node: Any) -> bool:
    context = node["context"]
    if not isinstance(context, str | None) or node["type"] == "collections.defaultdict":
        return False
    return "__enum__" not in json.dumps(json.loads(context or "null"))
