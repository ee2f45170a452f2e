"""File names and labels that attack a page."""

from __future__ import annotations

import os
import sys

HOSTILE = {
    "script": "<script>window.taken = 1</script>.png",
    "image": "<img src=x onerror=window.taken=1>.png",
    "end": "</script><script>window.taken = 1</script>.png",
    "comment": "<!--<script>.png",
    "quotes": "\"'><b onmouseover='window.taken=1'>`${1}`{{ 7*7 }}.png",
    "title": "</title></style></textarea><svg onload=window.taken=1>.png",
    "link": "javascript:window.taken=1;document.title='taken'//.png",
    "attribute": "x' autofocus onfocus='document.title=1' x=\" autofocus onfocus=window.taken=1 \".png",
    "lines": "two\nlines\r\u2028and\x1b[31m colour.png",
    "bidi": "photo\u202egpj.exe",
    "surrogate": os.fsdecode(b"caf\xe9\xff.png") if sys.platform != "win32" else "caf\udce9\udcff.png",
    "nul": "a\0b.png",
    "long": "x" * 5000 + ".png",
}
"""File names and labels that somebody else chose."""
