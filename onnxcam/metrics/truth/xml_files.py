"""XML of the truth: read without document types and entities."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from onnxcam import paths
from onnxcam.errors import TruthError
from onnxcam.numbers import parse_float
from onnxcam.text import in_message

__all__ = ["attribute", "number", "read_xml", "text_of"]


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root of the XML file at *path*; TruthError if it is damaged, or declares a document type."""
    text = paths.read_text(path, TruthError, "truth")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # an entity may expand to any size
        raise TruthError(f"{in_message(path)}: XML with a document type or entities is not read; remove them")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise TruthError(f"{in_message(path)}: it is no XML, or breaks off ({error})") from None


def text_of(element: ElementTree.Element, name: str, where: str) -> str:
    """Return the text of the child *name*."""
    found = (element.findtext(name) or "").strip()
    if not found:
        raise TruthError(f"{where}: <{element.tag}> has no <{name}>")
    return found


def attribute(element: ElementTree.Element, name: str, where: str) -> str:
    """Return the attribute *name*."""
    if name not in element.attrib:
        raise TruthError(f"{where}: <{element.tag}> has no {name}")
    return element.attrib[name]


def number(words: str, what: str, where: str) -> float:
    """Return the number in *words*, the value of *what*."""
    found = parse_float(words)
    if found is None:
        raise TruthError(f"{where}: {what} is {in_message(repr(words))}, which is no number")
    return found
