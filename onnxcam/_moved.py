"""Modules of 0.1 under their old names, for one release: an import of one warns and gives what the module is now."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PACKAGES = {"edge": "compare", "edge.report": "compare.report", "target": "targets"}
MODULES = {
    "arrays": "media.numpy_files",
    "autodiff.emit": "graph.emitter",
    "autodiff.fold": "graph.fold",
    "autodiff.infer": "graph.infer",
    "autodiff.jacobian": "autodiff.differentiate",
    "autodiff.lists": "graph.sequence_shapes",
    "autodiff.rescale": "autodiff.deeplift.rules",
    "autodiff.sequence": "graph.sequences",
    "autodiff.subgraph": "graph.subgraph",
    "autodiff.twins": "autodiff.deeplift.reference",
    "blame": "model.invalid",
    "blocks": "structure.blocks",
    "card": "metadata.card",
    "companions": "metadata.sidecar",
    "compiled": "explainer.compiled",
    "diagnose": "model.diagnose",
    "edge.bake": "bake.bake",
    "edge.cautions": "compare.checks",
    "edge.comparison": "compare.image_comparison",
    "edge.conclusion": "compare.summary",
    "edge.depth": "compare.layers",
    "edge.dequantise": "bake.dequantise",
    "edge.device": "compare.device_runner",
    "edge.entries": "compare.journal_entries",
    "edge.grid": "compare.alignment",
    "edge.inside": "bake.outputs",
    "edge.journal": "compare.journal",
    "edge.levels": "compare.layer_agreement",
    "edge.matching": "compare.compare_recordings",
    "edge.objects": "compare.object_masks",
    "edge.observer": "compare.observer",
    "edge.operators": "bake.ort_build",
    "edge.outcome": "compare.outcome",
    "edge.pack": "compare.pack",
    "edge.record": "compare.record",
    "edge.recording": "compare.recordings",
    "edge.report.histogram": "compare.report.histogram",
    "edge.report.html": "compare.report.html",
    "edge.report.junit": "compare.report.junit",
    "edge.report.listing": "compare.report.table",
    "edge.report.panel": "compare.report.panel",
    "edge.report.printed": "compare.report.formatting",
    "edge.report.worst": "compare.report.ranking",
    "edge.similarity": "compare.similarity",
    "edge.site": "web.site",
    "edge.stamp": "bake.metadata",
    "edge.support": "bake.providers",
    "edge.tflite": "compare.tflite",
    "edge.thresholds": "compare.thresholds",
    "edge.validate": "compare.validate",
    "edge.validation": "compare.validation",
    "edge.webruntime": "web.runtime",
    "edge.webserver": "web.server",
    "explanation": "explainer.explanation",
    "extras": "metadata.reserved",
    "headers": "media.image_headers",
    "heatmap": "media.heatmap",
    "image": "media.image",
    "inputs": "model.inputs",
    "labels": "metadata.labels",
    "layer": "structure.layer",
    "layout": "structure.layout",
    "limits": "graph.limits",
    "listing": "media.image_files",
    "literals": "metadata.literals",
    "manifest": "explainer.manifest",
    "medium": "model.modality",
    "methods.graph": "methods.explanation_graph",
    "methods.passes": "methods.queries",
    "network": "model.description",
    "passes.lower": "bake.lower",
    "runner": "explainer.runner",
    "silence": "stderr",
    "subject": "model.prepared",
    "survey": "inspection",
    "target.aim": "targets.aim",
    "target.captions": "targets.captioning",
    "target.classes": "targets.classification",
    "target.dense": "targets.segmentation",
    "target.detection": "targets.detection",
    "target.detectors": "targets.detection_layouts",
    "target.embedding": "targets.embedding",
    "target.heads": "targets.detection_decoders",
    "target.reading": "targets.text_recognition",
    "target.scores": "targets.scores",
    "target.task": "targets.goal",
    "target.tasks": "targets.recognition",
    "target.tensors": "targets.tensors",
    "target.wishes": "targets.kinds",
    "target.words": "targets.parser",
    "units": "graph.quantisation",
    "values": "numbers",
    "volume": "media.volume",
    "weights": "graph.weights",
}
"""Old name, new name, both below onnxcam."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a name of 0.1."""
        old = fullname.removeprefix("onnxcam.")
        if not fullname.startswith("onnxcam.") or old not in MODULES | PACKAGES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=old in PACKAGES)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return the module under its new name; of a package, one that hands its names on."""
        old = spec.name.removeprefix("onnxcam.")
        new = importlib.import_module(f"onnxcam.{(MODULES | PACKAGES)[old]}")
        warn(spec.name, new.__name__)
        self._kept = new.__spec__
        return _package(spec.name, new) if old in PACKAGES else new

    def exec_module(self, module: ModuleType) -> None:
        """Undo what the import system wrote into a module that was imported already."""
        if module.__name__.removeprefix("onnxcam.") not in PACKAGES:
            module.__spec__ = self._kept


def warn(old: str, new: str) -> None:
    """Warn that *old* is *new* now, at the line outside onnxcam that asked for it."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_between(frame.f_code.co_filename):
        frame = frame.f_back
    message = f"{old} is {new} now; the old name goes with the next release"
    scope = frame.f_globals
    warnings.warn_explicit(
        message,
        DeprecationWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=scope.get("__name__", "__main__"),
        registry=scope.setdefault("__warningregistry__", {}),
    )


def _is_between(file: str) -> bool:
    """Whether *file* is onnxcam's own or the import system's."""
    return "importlib" in file or os.path.dirname(__file__) in file


def _package(name: str, new: ModuleType) -> ModuleType:
    """Return a package called *name* whose names are those of *new*, and its old modules."""
    package = ModuleType(name, new.__doc__)
    package.__path__ = []  # otherwise `found` gives the path of *new*, whose files would be loaded a second time

    def found(attribute: str) -> Any:
        if f"{name}.{attribute}".removeprefix("onnxcam.") in MODULES | PACKAGES:
            return importlib.import_module(f"{name}.{attribute}")
        return getattr(new, attribute)

    package.__getattr__ = found  # type: ignore[method-assign]
    return package


sys.meta_path.insert(0, _Finder())  # before folders that an older version left
