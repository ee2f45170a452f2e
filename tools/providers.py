"""Bring onnxcam/bake/providers.json up to date from what is published: ``python tools/providers.py --help``.

Facts are taken: operators, opsets, types. The notes in the table are our own words; those of operators that are still
listed are kept, and none is taken.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

TABLE = Path(__file__).parents[1] / "onnxcam" / "bake" / "providers.json"
CASE = {schema.name.lower(): schema.name for schema in onnx.defs.get_all_schemas()}
BEGIN = 7

Row = tuple[str, int, int | None, dict[str, list[str]]]  # operator, first and last opset that it is of, types


def runtime() -> Iterator[Row]:
    """Yield the kernels of the installed ONNX Runtime's CPU provider."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    for kernel in state.get_all_opkernel_def():
        first, last = kernel.version_range
        types = {name: [_dtype(word) for word in words] for name, words in kernel.type_constraints.items()}
        yield _name(kernel.domain, kernel.op_name), first, first if last > 1000 else last, types


def kernels(text: str, section: str) -> Iterator[Row]:
    """Yield those of one *section* of ONNX Runtime's docs/OperatorKernels.md."""
    domain, name = "", ""
    for line in text.partition(f"implemented by {section}")[2].partition("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        if found := re.search(r"Operator Domain:\*\* \*([\w.]+)", line):
            domain = found[1]
        elif len(cells) == 4 and (span := re.fullmatch(r"\[?(\d+)(?:, (\d+)\]|(\+))?", cells[2])):
            name = cells[0] or name
            pairs = re.findall(r"\*\*(\w+)\*\* = ((?:[\w()]+(?:, )?)+)", cells[3])
            types = {key: [_dtype(word) for word in words.split(", ")] for key, words in pairs}
            yield _name(domain, name), int(span[1]), int(span[2] or span[1]), types


def opsets(text: str, exact: bool) -> Iterator[Row]:
    """Yield those of onnxruntime-web's tables; *exact*: whether ``13+`` ends where the operator changes again.

    Tables that are not begin at opset 7, which stands for all before.
    """
    for line in text.splitlines():
        cells = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cell).strip() for cell in line.strip("|").split("|")]
        if len(cells) < 2 or not re.fullmatch(r"\w+", cells[0]) or cells[0] == "Operator":
            continue
        spans = re.findall(r"([\w.]+)\(([^)]*)\)", cells[1]) or [("ai.onnx", cells[1])]
        for domain, words in spans:
            for first, dash, last, more in re.findall(r"(\d+)(?:(-)(\d+)|(\+))?", words):
                end = int(last) if dash else int(first) if exact or not more else None
                yield _name(domain, cells[0]), 1 if int(first) <= BEGIN and not exact else int(first), end, {}


def listed(text: str) -> Iterator[Row]:
    """Yield those of pages that list operators alone: ``|ai.onnx:Add|…|``."""
    for domain, name in re.findall(r"^\|\s*(ai\.onnx|com\.microsoft)[.:](\w+)\s*\|", text, re.MULTILINE):
        yield _name(domain, name), 1, None, {}


def matrix(text: str) -> Iterator[Row]:
    """Yield those of onnx-tensorrt's docs/operators.md, whose types are those of the first input."""
    words = {"FP32": "float", "FP16": "float16", "BF16": "bfloat16"}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 2 and cells[1].startswith("Y"):
            types = [words.get(word, word.lower()) for word in re.findall(r"\w+", cells[2])]
            types += ["double"] if "float" in types else []  # which it casts
            yield _name("", cells[0]), 1, None, {"0": types} if types else {}


def _name(domain: str, name: str) -> str:
    domain = "" if domain == "ai.onnx" else domain
    return f"{domain}:{name}" if domain else CASE.get(name.lower(), name)


def _dtype(word: str) -> str:
    return re.sub(r"^tensor\((\w+)\)$", r"\1", word)


def merged(rows: Iterator[Row], notes: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return one entry for all kernels of equal opsets, and for neighbours of equal types."""
    found: dict[str, dict[tuple[int, int | None], dict[str, set[str]]]] = {}
    for name, first, last, types in rows:
        if ":" in name and not name.startswith("com.microsoft:"):  # other domains, and what optimisers make
            continue
        own = found.setdefault(name, {}).setdefault((first, last), {})
        for key, words in types.items():
            own.setdefault(key, set()).update(words)
    return {name: _entries(found[name], notes.get(name, "")) for name in sorted(found)}


def _entries(spans: dict[tuple[int, int | None], dict[str, set[str]]], note: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for first, last in sorted(spans, key=lambda span: (span[0], span[1] or 0)):
        types = {key: " ".join(sorted(words)) for key, words in sorted(spans[first, last].items())}
        before = entries[-1] if entries else None
        end = before["opset"][1] if before and before.get("types", {}) == types else None
        if before and end is not None and first <= end + 1:
            before["opset"][1] = last if last is None else max(last, end)
            continue
        said = {"types": types or None, "note": note or None}
        entries.append({"opset": [first, last], **{key: value for key, value in said.items() if value}})
    return entries


def write(table: dict[str, Any], path: Path = TABLE) -> None:
    """Write *table*, one operator a line."""
    parts = []
    for name, provider in table.items():
        head = {key: value for key, value in provider.items() if key != "operators"}
        rows = [f"   {json.dumps(op)}: {json.dumps(entries)}" for op, entries in provider.get("operators", {}).items()]
        lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
        if rows:
            lines.append('  "operators": {\n' + ",\n".join(rows) + "\n  }")
        parts.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("provider", help="its id in the table, such as cuda")
    parser.add_argument("file", nargs="?", type=Path, help="the published page; without it: the installed runtime")
    parser.add_argument("--format", choices=("kernels", "opsets", "exact-opsets", "list", "matrix"), default="list")
    parser.add_argument("--section", default="CUDAExecutionProvider", help="of OperatorKernels.md")
    parser.add_argument("--version", required=True, help='what it is the list of, such as "ONNX Runtime 1.32"')
    parser.add_argument("--source", required=True, help="the page's address")
    parser.add_argument("--date", required=True, help="year and month of the list")
    options = parser.parse_args()
    text = options.file.read_text(encoding="utf-8") if options.file else ""
    rows = (
        {
            "kernels": lambda: kernels(text, options.section),
            "opsets": lambda: opsets(text, exact=False),
            "exact-opsets": lambda: opsets(text, exact=True),
            "list": lambda: listed(text),
            "matrix": lambda: matrix(text),
        }[options.format]()
        if options.file
        else runtime()
    )
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    provider = table.setdefault(options.provider, {"title": options.provider})
    notes = {op: entry[0]["note"] for op, entry in provider.get("operators", {}).items() if "note" in entry[0]}
    provider.update(version=options.version, source=options.source, date=options.date)
    provider["operators"] = merged(rows, notes)
    write(table)


if __name__ == "__main__":
    main()
