"""The theme of the web page: its title, its logo and its style, kept when the page is built again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcam.errors import RuntimeFilesError

__all__ = ["KINDS", "MANIFEST", "STYLE", "Theme", "written"]

STYLE, MANIFEST, _LOGO = "theme.css", "manifest.webmanifest", "logo"
KINDS = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}
"""The kinds of a logo by the name's ending, and their media types."""
_BYTES = 2**22


@dataclass(frozen=True)
class Theme:
    """What a page shows in place of onnxcam's own title, logo and colours; None: the page's own.

    Args:
        title: Name of the page, also once it is installed.
        logo: Image file: SVG, PNG, WebP or JPEG, below 4 MiB.
        style: CSS file that is read after the page's own. It may set the variables of its `:root`: `--ground`,
            `--card`, `--well`, `--line`, `--text`, `--quiet`, `--accent`, `--on-accent`, `--bar`, `--bad`,
            `--bad-ground`, `--good`.
    """

    title: str | None = None
    logo: str | os.PathLike[str] | None = None
    style: str | os.PathLike[str] | None = None

    def over(self, other: Theme) -> Theme:
        """Return this theme, and *other* where it says nothing."""
        return Theme(self.title or other.title, self.logo or other.logo, self.style or other.style)

    def names(self) -> dict[str, str | None]:
        """Return the theme as the page's index has it: the title, and the files' names in the page's folder."""
        logo = None if self.logo is None else _LOGO + Path(self.logo).suffix.lower()
        return {"title": self.title, "logo": logo, "style": None if self.style is None else STYLE}

    def contents(self) -> dict[str, bytes]:
        """Return the files of the theme by their names in the page's folder.

        Raises:
            RuntimeFilesError: a file is missing, too large, or of a kind that the page cannot show.
        """
        made = {}
        if self.logo is not None:
            if (kind := Path(self.logo).suffix.lower()) not in KINDS:
                raise RuntimeFilesError(f"{self.logo}: a logo is one of {', '.join(KINDS)}; convert it")
            made[_LOGO + kind] = _read(Path(self.logo))
        if self.style is not None:
            made[STYLE] = _read(Path(self.style))
        if self.title or self.logo:
            made[MANIFEST] = json.dumps(self._manifest(), indent=1).encode()
        return made

    def _manifest(self) -> dict[str, Any]:
        from importlib import resources

        plain = json.loads(resources.files("onnxcam").joinpath("web/page", MANIFEST).read_text("utf-8"))
        title = self.title or plain["name"]
        logo = self.names()["logo"]
        icons = [{"src": logo, "type": KINDS[Path(logo).suffix], "sizes": "any"}] if logo else plain["icons"]
        return {**plain, "name": title, "short_name": title, "icons": icons}


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise OSError("no such file")
        if path.stat().st_size > _BYTES:
            raise OSError(f"it has more than {_BYTES:,} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RuntimeFilesError(f"{path}: {reason}; name a small file for the page's theme") from None


def written(folder: Path, index: str) -> Theme:
    """Return the theme of the page that *folder* holds, whose *index* onnxcam wrote; an empty one without a page."""
    try:
        told = json.loads((folder / index).read_text("utf-8"))["theme"]
        names = {key: told.get(key) for key in ("title", "logo", "style")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Theme()
    files = {key: folder / Path(name).name for key in ("logo", "style") if isinstance(name := names[key], str)}
    title = names["title"] if isinstance(names["title"], str) else None
    return Theme(title, **{key: path for key, path in files.items() if path.is_file()})
