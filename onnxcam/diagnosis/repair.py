"""Repair a quantised file: better scales where they are enough, few nodes in float, confirmed on other images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.bake.dequantise import in_qdq_form
from onnxcam.compare.validation import Validation
from onnxcam.diagnosis.diagnose import MOST, Subject
from onnxcam.diagnosis.diagnosis import Diagnosis
from onnxcam.diagnosis.exports import remove_notes
from onnxcam.diagnosis.keep_float import KeepFloat
from onnxcam.diagnosis.options import check_options
from onnxcam.diagnosis.repair_equalise import equalised
from onnxcam.diagnosis.repair_plan import RepairPlan, float_nodes, multiplications, node_key
from onnxcam.diagnosis.repair_ranking import by_margin, by_share
from onnxcam.diagnosis.repair_result import REPAIRED, MetricChange, Repair, Rewrite
from onnxcam.diagnosis.repair_search import least
from onnxcam.diagnosis.repair_trial import Trial, durations, split
from onnxcam.diagnosis.repair_tuning import Tuning
from onnxcam.diagnosis.rewrite import rewritable
from onnxcam.errors import DiagnosisError
from onnxcam.graph.io import ModelLike, load, to_proto
from onnxcam.graph.qdq import has_integer_operators
from onnxcam.graph.quantisers import Quantiser
from onnxcam.metadata.reserved import load_bare
from onnxcam.passes import canonical
from onnxcam.paths import PathLike
from onnxcam.progress import Progress, quiet

__all__ = ["repair"]

_GREW = "failed on the images of the confirmation, so"
_TOP = "top1"
"""The metric of classifiers that falls where a margin does."""
_AGAIN = "confirm it on further images"


def repair(
    reference: ModelLike | None,
    candidate: ModelLike,
    images: PathLike | Sequence[PathLike],
    *,
    require: str | None = None,
    target: int | str = "top",
    most: int = MOST,
    float_outputs: bool = False,
    progress: Progress = quiet,
    **options: Any,
) -> Repair:
    """Return a form of *candidate* that meets the requirements, with as few nodes in float as are needed.

    Half of the images serve the search, the other half the confirmation. Images that cannot be read are left out.

    Args:
        reference: The float model. None: the candidate without rounding takes its place; weights are not repaired.
        candidate: The quantised model. A QOperator file becomes one in QDQ form.
        images: Files, folders, glob patterns or lists, at least two images.
        require: Requirements, as for `onnxcam.compare.validate`; None: those of the task.
        target: What is explained.
        most: Largest number of images for the search.
        float_outputs: Outputs in integers may become floats.
        progress: Wraps the images of the diagnosis and their number.
        **options: Method, layer, preprocess, labels, … of both models, as for `onnxcam.compare.observer.Observer`.

    Raises:
        DiagnosisError: the two models are not one network; the verdict is undecided; or the requirements are not met
            even with all tensors in float.
        OnnxcamError: as for `onnxcam.Explainer`.
        TypeError: there is no such option.

    Example:
        >>> found = onnxcam.repair("float.onnx", "int8.onnx", "photos/")
        >>> found.save("fixed.onnx")
        >>> print(found.sentence)
    """
    check_options("repair", options, ("require", "target", "most", "float_outputs", "progress"))
    search, confirmation, left_out = split(images)
    subject = Subject.open(reference, candidate, search[:most], most, **options)
    trial = Trial(
        _float_model(subject) if reference is None else reference,
        _source(candidate),
        subject.mixture,
        require,
        target,
        options,
    )
    searching = _Search(subject, trial, search[:most], confirmation, reference, float_outputs, progress, left_out)
    return searching.run()


def _source(candidate: ModelLike) -> ir.Model:
    """Return the file to edit: *candidate* itself, or in QDQ form if its operators compute with integers."""
    model = load(candidate)
    if not has_integer_operators(model):
        return model
    lowered = canonical(load_bare(candidate), STANDARD)
    in_qdq_form(lowered)
    return lowered


def _float_model(subject: Subject) -> Any:
    """Return the quantised model without rounding, in place of a float model."""
    return to_proto(subject.mixture.real)


class _Search:
    """The search for the plan with the least changes."""

    def __init__(
        self,
        subject: Subject,
        trial: Trial,
        search: Sequence[str],
        confirmation: Sequence[str],
        reference: ModelLike | None,
        float_outputs: bool,
        progress: Progress,
        notes: Sequence[str] = (),
    ) -> None:
        self._subject, self._trial, self._reference, self._progress = subject, trial, reference, progress
        self._images, self._others = search, confirmation
        self._mixture = subject.mixture
        self._free = rewritable(trial.source, self._mixture, float_outputs)
        self._tuning = Tuning(subject, trial.source, self._free)
        self._notes = [*notes]
        self._equalised: Sequence[str] = ()

    def run(self) -> Repair:
        """Return the repair."""
        trial = self._trial
        before = trial.validate(RepairPlan(), self._others)
        if before.meets and trial.meets(RepairPlan(), self._images):
            return self._result(RepairPlan(), before, before, None)
        self._require_float()
        diagnosis = self._subject.diagnosis(trial.target, self._progress)
        units: Mapping[str, Quantiser] = self._tuning.units(diagnosis)
        plan = self._with_few_units(RepairPlan(units))
        if not trial.meets(plan, self._images):
            plan = self._with_equal_channels(plan, diagnosis)
        if not self._trial.meets(plan, self._images):
            plan = RepairPlan(self._tuning.ranges(plan.units))
        if not self._trial.meets(plan, self._images):
            plan = self._with_shifts(plan) or self._with_floats(plan, self._ranking(plan, diagnosis))
        after = self._trial.validate(plan, self._others)
        units = plan.units if self._equalised or len(plan.units) > len(units) else units
        if not after.meets and not plan.floats:
            plan, after = self._with_more_units(plan, units, after, diagnosis)
        if not after.meets:
            plan, after = self._extended(plan, self._ranking(plan, diagnosis))
        return self._result(plan, before, after, diagnosis)

    def _require_float(self) -> None:
        """Raise DiagnosisError if the file fails even with all tensors in float."""
        found = self._trial.validate(RepairPlan(floats=self._free), self._images, remember=True)
        if found.meets:
            return
        failing = next(one for one in found.verdicts if not one.holds)
        value = "it has no value for any image" if failing.value is None else f"it is {failing.value:.4g}"
        raise DiagnosisError(
            f"even with all {len(self._free)} tensors in float the file does not meet the requirement "
            f"{failing.words}: {value}{self._fixed}; ask for less with --require"
        )

    @property
    def _fixed(self) -> str:
        """Return which tensors cannot be kept in float, as the end of a sentence."""
        fixed = [one.tensor for one in self._mixture.quantisers if one.tensor not in self._free]
        if not fixed:
            return ""
        outputs = {value.name for value in self._trial.source.graph.outputs}
        why = "an output in integers (--float-outputs frees it)" if outputs & set(fixed) else "read by its operator"
        return f", as {fixed[0]!r} stays in integers: it is {why}"

    def _with_few_units(self, plan: RepairPlan) -> RepairPlan:
        """Return *plan* with the new units that the requirements need; with all if they are not enough."""

        def only(tensors: Sequence[str]) -> RepairPlan:
            return RepairPlan({tensor: plan.units[tensor] for tensor in tensors})

        found = least(list(plan.units), lambda tensors: self._trial.meets(only(tensors), self._images))
        return plan if found is None else only(found)

    def _with_more_units(
        self, plan: RepairPlan, units: Mapping[str, Quantiser], after: Validation, diagnosis: Diagnosis
    ) -> tuple[RepairPlan, Validation]:
        """Return *plan* with all *units*, with the best ranges, or with equal channels; and the verdict."""
        first = plan
        for more in (dict, self._tuning.ranges):
            longer = replace(plan, units=more(units))
            if not after.meets and longer.key != plan.key:
                plan, after = longer, self._trial.validate(longer, self._others)
        if not after.meets and not self._equalised:
            plan = self._with_equal_channels(plan, diagnosis)
            if self._equalised:
                plan = RepairPlan(self._tuning.ranges(plan.units))
                after = self._trial.validate(plan, self._others)
        if plan is not first:
            self._notes.append(f"the first repair {_GREW} more tensors have better units; {_AGAIN}")
        return plan, after

    def _with_equal_channels(self, plan: RepairPlan, diagnosis: Diagnosis) -> RepairPlan:
        """Equalise the channels of layers in the file, if this helps; return the plan for the file as it is then."""
        found = equalised(self._tuning, plan.units, diagnosis)
        if found is None:
            return plan
        self._tuning, self._equalised = found.tuning, found.activations
        self._subject = found.tuning.subject
        self._mixture = self._subject.mixture
        self._trial = self._trial.of(found.tuning.source, self._mixture)
        return RepairPlan(found.units)

    def _with_shifts(self, plan: RepairPlan) -> RepairPlan | None:
        """Return *plan* with corrected biases, if the requirements hold with them."""
        shifts = self._tuning.shifts(plan.units)
        found = replace(plan, shifts=shifts)
        return found if shifts and self._trial.meets(found, self._images) else None

    def _ranking(self, plan: RepairPlan, diagnosis: Diagnosis) -> list[str]:
        """Return the tensors that can be kept in float, the worst first."""
        bench = self._tuning.bench
        found = by_share(plan, diagnosis, bench, self._free)
        if _TOP not in self._trial.failing(plan, self._images):
            return found
        return by_margin(plan, found, bench, lambda name: len(float_nodes(self._trial.source, [name], self._mixture)))

    def _with_floats(self, plan: RepairPlan, ranking: Sequence[str]) -> RepairPlan:
        found = least(ranking, lambda tensors: self._trial.meets(plan.keeping(tensors), self._images))
        if found is None:  # more than the ranking: what nothing depends on in these images
            return plan.keeping(self._free)
        return plan.keeping(found)

    def _extended(self, plan: RepairPlan, ranking: Sequence[str]) -> tuple[RepairPlan, Validation]:
        """Return a plan with more tensors in float, which holds on the images of the confirmation too."""
        rest = [name for name in ranking if name not in plan.floats]
        count = 1
        while True:
            longer = plan.keeping([*plan.floats, *rest[:count]])
            after = self._trial.validate(longer, self._others)
            if after.meets or count >= len(rest):
                break
            count *= 2
        self._notes.append(f"the first repair {_GREW} {min(count, len(rest))} more tensors are in float; {_AGAIN}")
        return longer, after

    def _result(self, plan: RepairPlan, before: Validation, after: Validation, diagnosis: Diagnosis | None) -> Repair:
        source, mixture = self._trial.source, self._mixture
        nodes = float_nodes(source, plan.floats, mixture)
        work = multiplications(mixture.real)
        total = sum(work.values())
        model = plan.applied(source, mixture)
        remove_notes(model)
        found = Repair(
            model=model,
            already=diagnosis is None,
            measures=_measures(before, after),
            rewrites=[] if diagnosis is None else self._rewritten(plan, diagnosis),
            biases=list(plan.shifts),
            tensors=list(plan.floats),
            nodes=[node_key(node) for node in nodes],
            work=sum(work.get(node_key(node), 0) for node in nodes) / total if total else 0.0,
            seconds=self._seconds(model) if diagnosis is not None else {},
            images=(len(self._images), len(self._others)),
            diagnosis=diagnosis,
            keep=KeepFloat.of(plan.floats, source, mixture, self._subject.pairing, self._reference),
            equalised=list(self._equalised),
            warnings=list(dict.fromkeys([*self._notes, *after.warnings])),
        )
        found.model.metadata_props[REPAIRED] = json.dumps(found.stamp())
        return found

    def _rewritten(self, plan: RepairPlan, diagnosis: Diagnosis) -> list[Rewrite]:
        units = {tensor: one for tensor, one in plan.units.items() if tensor not in plan.floats}
        return self._tuning.rewritten(units, diagnosis)

    def _seconds(self, model: ir.Model) -> dict[str, float]:
        models: dict[str, ModelLike] = {"before": self._trial.source, "after": model}
        if self._reference is not None:
            models["float"] = self._reference
        return durations(models, dict(self._subject.candidate.look(self._subject.images[0]).feeds))


def _measures(before: Validation, after: Validation) -> list[MetricChange]:
    second = {one.words: one for one in after.verdicts}
    return [
        MetricChange(one.metric, one.words, one.value, second[one.words].value, one.holds, second[one.words].holds)
        for one in before.verdicts
    ]
