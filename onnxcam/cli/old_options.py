"""Old names of options: each works, with a warning, until `onnxcam.deprecation.ENDS`."""

from __future__ import annotations

from collections.abc import Container, Sequence

from onnxcam import deprecation

OLD_OPTIONS = {"--alpha": "--opacity", "--classes-from": "--explain-from"}
"""The old name of an option, and the new one."""


def renamed(words: Sequence[str], known: Container[str]) -> list[str]:
    """Return the *words* of a command that has the options *known*, with new names in place of old ones; warn of each.

    Words behind ``--`` are no options.
    """
    from onnxcam.cli import show

    end = words.index("--") if "--" in words else len(words)
    found: list[str] = []
    for word in words[:end]:
        name, equals, value = word.partition("=")
        new = OLD_OPTIONS.get(name)
        if new is None or new not in known:
            found.append(word)
            continue
        show.warnings([deprecation.sentence(name, new)])
        found.append(new + equals + value)
    return [*found, *words[end:]]
