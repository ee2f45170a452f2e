"""The graphs that an Explainer builds, without their sessions."""

from __future__ import annotations

from unittest import mock

import onnx_ir as ir

import onnxcam
from onnxcam.graph.io import ModelLike


def explanation_graph(model: ModelLike, method: str) -> ir.Model:
    """Return what an Explainer builds: all of it happens but the session."""
    built: list[ir.Model] = []
    with mock.patch("onnxcam.explainer.compiled.Session", lambda graph, *_args, **_settings: built.append(graph)):
        onnxcam.Explainer(model, method=method, provider="cpu")
    return built[0]
