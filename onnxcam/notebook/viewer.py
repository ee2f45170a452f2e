"""The viewer of a notebook, a widget: Python explains, the browser blends picture and map."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from onnxcam import Explainer
from onnxcam.errors import OnnxcamError, OutputError
from onnxcam.explainer.explainer import Image
from onnxcam.notebook.views import AUTO_LAYER, BrowserView, ExplanationViews
from onnxcam.text import plain

__all__ = ["viewer"]

_CHOICES = ("target", "layer", "method")


def viewer(explainer: Explainer, image: Image, target: str = "", opacity: float = 1.0) -> Any:
    """Return a widget that explains *image*: class, layer, method and opacity change by a click.

    It has the traits *target*, *layer*, *method* and *opacity*, which can be set in Python too, and *error*, one line
    where the last choice cannot be explained; the picture then stays as it was.

    Args:
        explainer: Where the choices start.
        image: An image file or an array, as for a call of the explainer.
        target: The first target; empty for the default one.
        opacity: How strong the colours are at first, from 0 to 1: the overlay by value times that.

    Raises:
        OutputError: anywidget is not installed (extra ``notebook``), or the opacity is none.
        OnnxcamError: the first explanation cannot be made.

    Example:
        >>> viewer(Explainer("resnet50.onnx"), "cat.jpg")
    """
    if not 0 <= opacity <= 1:
        raise OutputError(f"the opacity is {opacity!r}; give a number from 0 to 1")
    kind = _widget()
    views = ExplanationViews(explainer, image)
    layer = explainer.layer if isinstance(explainer.layer, str) else AUTO_LAYER
    shown = views.view(target, layer, explainer.method)
    options = {"targets": [list(pair) for pair in views.targets], "layers": views.layers, "methods": views.methods}
    chosen = {"target": target, "layer": layer, "method": explainer.method}
    return kind(**options, **chosen, opacity=opacity, **_sent(shown)).of(views)


def _sent(view: BrowserView) -> dict[str, Any]:
    """Return the traits that hold *view*."""
    return {
        "photo": view.photo,
        "heat": view.heat,
        "palette": view.palette.tobytes(),
        "bar": list(view.bar),
        "said": [list(pair) for pair in view.said],
        "warnings": view.warnings,
    }


@cache
def _widget() -> Any:
    """Return the class of the widget, which only anywidget can make."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        raise OutputError(
            "the viewer is made by anywidget, which is not installed; pip install 'onnxcam[notebook]'"
        ) from None
    script, style = ((files(__package__) / f"viewer.{kind}").read_text("utf-8") for kind in ("js", "css"))

    class Viewer(anywidget.AnyWidget):  # type: ignore[misc]
        """The widget: what the browser reads is a trait with ``sync=True``."""

        _esm, _css = script, style
        target, layer, method = (traitlets.Unicode().tag(sync=True) for _ in range(3))
        opacity = traitlets.Float(1.0, min=0.0, max=1.0).tag(sync=True)
        targets, layers, methods = (traitlets.List().tag(sync=True) for _ in range(3))
        photo, heat, palette = (traitlets.Bytes().tag(sync=True) for _ in range(3))
        bar, said, warnings = (traitlets.List().tag(sync=True) for _ in range(3))
        error = traitlets.Unicode().tag(sync=True)

        def of(self, views: ExplanationViews) -> Viewer:
            """Explain what is chosen from now on; return the widget."""
            self._views = views
            self.observe(self._explain, names=list(_CHOICES))
            return self

        def _explain(self, _: Any) -> None:
            try:
                found = self._views.view(self.target, self.layer, self.method)
            except OnnxcamError as error:
                self.error = plain(str(error))
                return
            with self.hold_sync():
                self.error = ""
                for name, value in _sent(found).items():
                    setattr(self, name, value)

    return Viewer
