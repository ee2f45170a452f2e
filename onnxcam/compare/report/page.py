"""Templates and variables → one self-contained HTML page, which loads nothing and runs one script of its own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import onnxcam
from onnxcam.errors import OutputError

__all__ = ["embedded", "render", "require", "template"]

_SHARED = ("page.html",)


def require(extra: str = "edge") -> None:
    """Raise OutputError, which names the *extra* to install, if Jinja is not installed."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise OutputError(
            f"the HTML report is made by Jinja, which is not installed; pip install 'onnxcam[{extra}]'"
        ) from None


def _source(package: str, name: str) -> str:
    """Return a template of *package*, or one that all pages share."""
    return template(__package__ if name in _SHARED else package, name)


def template(package: str, name: str) -> str:
    """Return the text of the template *name* of *package*."""
    return (files(package) / "templates" / name).read_text("utf-8")


def render(package: str, name: str, variables: Mapping[str, Any], style: str, script: str) -> str:
    """Return the page of the template *name* of *package*.

    The template may extend ``page.html``, which has the head and the foot of all pages. The content security policy
    allows the *style* and the *script* by their hashes, so *variables* are always text.

    Raises:
        OutputError: Jinja is not installed.
    """
    require()
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda other: _source(package, other)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name).render(
        version=onnxcam.__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        **variables,
    )


def embedded(data: Any) -> str:
    """Return JSON that is safe inside a script element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
