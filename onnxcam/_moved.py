"""Names of version 0.1: each warns and gives the module, class or function under its new name."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from onnxcam.deprecation import warn_renamed

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
    "compare.model_files": "graph.model_files",
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
    "target.detectors": "targets.detectors.layouts",
    "target.embedding": "targets.embedding",
    "target.heads": "targets.detectors.candidates",
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
_NEW = MODULES | PACKAGES

HOMES = {"graph": "graph.io", "autodiff.rules": "autodiff.table"}
"""Modules that are packages now, or were split: most of their names are in another module."""
_METHODS = {
    "Passes": "methods.queries.ModelQueries",
    "Pictures": "methods.settings.ImageSet",
    "Scene": "methods.context.MapContext",
}
_SETTINGS = {"read_settings": "methods.settings.read_settings"}
NAMES: Mapping[str, Mapping[str, str]] = {
    "compare.report.panel": {"Picture": "media.image.RgbImage"},
    "explainer.explanation": {name: f"explainer.drawing.{name}" for name in ("FORMATS", "MAPS", "SMALL")},
    "media.heatmap": {"Corners": "media.heatmap.PixelBox"},
    "media.image_headers": {"Size": "media.image_headers.WidthHeight"},
    "methods": _METHODS,
    "methods.base": _METHODS | _SETTINGS,
    "methods.queries": _METHODS | _SETTINGS,
    "metrics": {"Outcome": "metrics.CheckResult"},
    "metrics.localisation": {"Box": "targets.notation.Corners"},
    "metrics.truth": {"Box": "targets.notation.Corners"},
    "model.diagnose": {"Gradients": "model.diagnose.GradientSession"},
    "preprocess.tensor_spec": {
        "Dim": "preprocess.tensor_spec.AxisLength",
        "Layout": "preprocess.tensor_spec.AxisOrder",
    },
    "preprocess.transform": {"Picture": "media.image.RgbImage", "Size": "preprocess.transform.HeightWidth"},
    "structure.layer": {name: f"structure.choose.{name}" for name in ("PROBED", "RUNNERS_UP", "choose", "widest")},
    "structure.propagate": {"Found": "structure.propagate.KnownLayouts"},
    "targets.detection": {"Found": "targets.detection.CandidateClass"},
    "targets.notation": {"Picture": "targets.notation.ImageSource"},
    "targets.kinds": {
        "Element": "targets.kinds.TensorElement",
        "Region": "targets.kinds.ClassRegion",
        "Wish": "targets.kinds.TargetKind",
    },
}
"""Module, old name in it, new name, all below onnxcam."""


class _OldNameFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a module of 0.1, and for one that has names of 0.1."""
        old = fullname.removeprefix("onnxcam.")
        if not fullname.startswith("onnxcam."):
            return None
        if old not in _NEW:
            return _with_old_names(fullname, path) if old in NAMES or old in HOMES else None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=old in PACKAGES)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return the module under its new name; for a package, a stand-in that forwards its names."""
        old = spec.name.removeprefix("onnxcam.")
        new = importlib.import_module(f"onnxcam.{_NEW[old]}")
        warn_renamed(spec.name, new.__name__)
        if old in PACKAGES:
            return _package(spec.name, new)
        spec.loader_state = new.__spec__
        return new

    def exec_module(self, module: ModuleType) -> None:
        """Restore the spec of a module that was imported already: the import system replaced it."""
        if module.__spec__ is not None and module.__spec__.loader_state is not None:
            module.__spec__ = module.__spec__.loader_state


def _with_old_names(fullname: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Return the spec of a module that finds its old names, by `NAMES` and `HOMES`."""
    spec = importlib.machinery.PathFinder.find_spec(fullname, path)
    if spec is None or spec.loader is None:
        return None
    execute = spec.loader.exec_module

    def executed(module: ModuleType) -> None:
        module.__getattr__ = renamed(fullname)  # type: ignore[method-assign]
        execute(module)

    spec.loader.exec_module = executed  # type: ignore[method-assign]
    return spec


def renamed(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of *module* for its old names, by `NAMES` and `HOMES`."""
    place = module.removeprefix("onnxcam.")

    def found(name: str) -> Any:
        new = NAMES.get(place, {}).get(name) or (f"{HOMES[place]}.{name}" if place in HOMES else "")
        home, _, own = new.rpartition(".")
        value = getattr(importlib.import_module(f"onnxcam.{home}"), own, None) if new and own[0] != "_" else None
        if value is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_renamed(f"{module}.{name}", f"onnxcam.{new}")
        return value

    return found


def _package(name: str, new: ModuleType) -> ModuleType:
    """Return a package called *name* with the names of *new* and the old modules."""
    package = ModuleType(name, new.__doc__)
    package.__path__ = []  # otherwise `found` gives the path of *new*, whose files would be loaded a second time

    def found(attribute: str) -> Any:
        if f"{name}.{attribute}".removeprefix("onnxcam.") in _NEW:
            return importlib.import_module(f"{name}.{attribute}")
        return getattr(new, attribute)

    package.__getattr__ = found  # type: ignore[method-assign]
    return package


sys.meta_path.insert(0, _OldNameFinder())  # before folders that an older version left
