"""A model with its explanation in it, ready to run: one session for a method, an aim and a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxcam.engine import Session
from onnxcam.graph.io import building
from onnxcam.metadata.reserved import AROUND, SCORE
from onnxcam.methods import Method, explanation_graph, head_graph
from onnxcam.model.prepared import Subject
from onnxcam.structure.layer import Choice, Layer
from onnxcam.targets import Aim

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Compiled:
    """The explanation graph for all targets of one kind, and the head behind the layer where a method asks for it."""

    aim: Aim
    choices: Sequence[Choice]
    session: Session
    head: Session | None
    batch: int | None  # how many pictures a run takes, where that is fixed

    @classmethod
    def of(
        cls,
        subject: Subject,
        method: Method,
        aim: Aim,
        choices: Sequence[Choice],
        settings: Mapping[str, Any],
        provider: str,
        *,
        signed: bool = False,
        spin: bool = True,
    ) -> Compiled:
        """Make *subject*, which is used up, explain itself."""
        layers = [choice.layer for choice in choices]
        fixed = subject.batch if isinstance(subject.batch, int) else 1 if aim.single else None
        with building():
            twin = subject.twin() if method.uses_head else None
            explanation_graph(subject, method, layers, aim, settings, signed=signed)
            if twin is not None and layers:
                head_graph(twin, layers[0].in_graph(twin.model.graph), aim)
        head = Session(twin.model, provider, spin=spin) if twin is not None else None
        return cls(aim, choices, Session(subject.model, provider, spin=spin), head, fixed)

    @property
    def layers(self) -> list[Layer]:
        """Return the layers that are looked at."""
        return [choice.layer for choice in self.choices]

    @property
    def around(self) -> list[str]:
        """Return what the head calls the tensors that go around the layer."""
        return [name for name in self.head.inputs if name.startswith(AROUND)] if self.head is not None else []

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        """Return the outputs for a batch of any size."""
        return self._run(self.session, dict(feeds), outputs)

    def run_head(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the scores of changed activations, [B]."""
        assert self.head is not None
        return self._run(self.head, {name: feeds[name] for name in self.head.inputs}, None)[SCORE]

    def _run(self, session: Session, feeds: Arrays, outputs: Sequence[str] | None) -> Arrays:
        if self.batch in (None, len(feeds[self.aim.input])):
            return session.run(feeds, outputs)
        return session.run_in_pieces(feeds, self.batch or 1, outputs)
