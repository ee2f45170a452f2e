"""Small pieces of HTML that objects show of themselves in a notebook; all text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from onnxcam.text import visible

__all__ = ["Markup", "bar", "beside", "block", "facts", "linked", "picture", "table", "text", "warned"]

_LONGEST = 400
_CELL = "padding:2px 8px;text-align:left;vertical-align:top"


class Markup(str):
    """HTML that is finished; any other text is escaped where it is put in."""

    __slots__ = ()


def text(content: object) -> Markup:
    """Return *content* as HTML: escaped, invisible characters written out, cut to 400 characters."""
    return content if isinstance(content, Markup) else Markup(escape(visible(str(content), _LONGEST)))


def picture(content: bytes, alternative: str, width: int | None = None, height: int | None = None) -> Markup:
    """Return a .png or .jpg file as an image, see `linked`."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return linked(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}", alternative, width, height)


def linked(uri: str, alternative: str, width: int | None = None, height: int | None = None) -> Markup:
    """Return the image at *uri*, with the text *alternative* for those who do not see it; its size in pixels."""
    size = "".join(f' {name}="{one}"' for name, one in (("width", width), ("height", height)) if one is not None)
    # Notebooks and nbconvert set `height: auto` for images, which overrides the attribute.
    fixed = f' style="width:{width}px;height:{height}px;max-width:none"' if width and height else ""
    return Markup(f'<img src="{escape(uri)}" alt="{text(alternative)}"{size}{fixed}>')


def bar(png: bytes, ends: Sequence[object], alternative: str) -> Markup:
    """Return a colour bar, an image one pixel high, with its *ends* at either side."""
    return Markup(
        '<div style="display:flex;gap:6px;align-items:center">'
        f"{text(ends[0])} {picture(png, alternative, 128, 10)} {text(ends[1])}</div>"
    )


def table(rows: Iterable[Sequence[object]], head: Sequence[object] = ()) -> Markup:
    """Return *rows* as a table, whose columns have the titles *head*."""
    lines = [_row(head, "th"), *(_row(row, "td") for row in rows)] if head else [_row(row, "td") for row in rows]
    return Markup(f"<table>{''.join(lines)}</table>")


def facts(pairs: Iterable[tuple[object, object]]) -> Markup:
    """Return a table of names and values, without those that are None or empty."""
    return table((Markup(f"<b>{text(name)}</b>"), value) for name, value in pairs if value not in (None, ""))


def warned(warnings: Iterable[object]) -> Markup:
    """Return one line for each warning."""
    return Markup("".join(f"<div>⚠ {text(one)}</div>" for one in dict.fromkeys(warnings)))


def block(*parts: object) -> Markup:
    """Return *parts* one below the other."""
    return Markup(f"<div>{''.join(f'<div>{text(part)}</div>' for part in parts if part)}</div>")


def beside(*parts: object) -> Markup:
    """Return *parts* side by side; where the window is narrow, one below the other."""
    inner = "".join(f"<div>{text(part)}</div>" for part in parts if part)
    return Markup(f'<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start">{inner}</div>')


def _row(cells: Sequence[object], kind: str) -> str:
    start, end = f'<{kind} style="{_CELL}">', f"</{kind}>"
    return f"<tr>{''.join(start + text(cell) + end for cell in cells)}</tr>"
