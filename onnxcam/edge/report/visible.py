"""Text of unknown origin → text that shows what it is: file names and labels as reports print them."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of what is not seen, or turns what follows around: U+202E makes `gpj.exe` of `exe.jpg`."""
_JOINERS = "\u200c\u200d"
"""Format characters that spell words and emoji, and turn nothing around."""
LONGEST = 120


def visible(text: str, longest: int = LONGEST) -> str:
    r"""Return *text* with what a reader would not see written out, cut in the middle to *longest* characters.

    Control characters, line breaks, marks of direction and bytes that are not UTF-8 (surrogates, as `os.fsdecode`
    leaves them) become ``\n``, ``\u202e``, ``\xff``. A backslash stays as it is. What comes out can be encoded.

    >>> visible("a\u202egpj.exe")
    'a\\u202egpj.exe'
    """
    whole = "".join(map(_shown, text))
    if len(whole) <= longest:
        return whole
    head = (longest - 1) * 2 // 3
    return whole[:head] + "…" + whole[head + 1 - longest :]


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) not in _HIDDEN or character in _JOINERS:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
