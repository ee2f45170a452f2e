"""What the networks of the family have in common: how a task is described, its rows of numbers, its samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from models.world import Mask, Scene, sample
from onnxcam.metadata.card import Card

FOLDER = Path(__file__).parent
TRAINING, HELD_OUT = 0, 1  # first word of a scene's seed; the second is its number
SIZE = 64  # side of a picture
PICTURE = f"resize={SIZE}x{SIZE},range=0-1"

Rows: TypeAlias = dict[str, NDArray[Any]]  # by name, the first axis counts the scenes
Run: TypeAlias = Callable[[Rows], list[NDArray[Any]]]  # the network: from its inputs (among others) to its outputs
S = TypeVar("S")


@dataclass(frozen=True)
class Sample:
    """A picture that the network never saw, what is asked about it, and where the evidence of the answer must lie."""

    feeds: Mapping[str, Any]  # as a user gives them: the picture uint8 `[H, W, 3]`, a question as a string, …
    target: str  # in onnxcam's words; `{name}` stands for the file that holds `attached[name]`
    truth: Mask  # where the evidence lies, of the picture's size
    objects: Mask  # where any object is
    attached: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Task(ABC, Generic[S]):
    """One network of the family: its world, its rows, its loss, how good it is, and samples to explain.

    A scene is whatever the task draws; a row holds, by name, the network's inputs and what the loss compares with.
    Bytes among the inputs are pictures, the network sees them in [0, 1].
    """

    card: ClassVar[Card]  # what the file says of itself: task, preprocess, labels, vocabulary
    inputs: ClassVar[Sequence[str]] = ("image",)
    outputs: ClassVar[Sequence[str]] = ("logits",)
    dynamic: ClassVar[str] = "batch"  # the axes that the file leaves open
    floor: ClassVar[float]  # the first of `figures` is above it, on few scenes too
    size: ClassVar[int] = 500_000  # the file has no more bytes
    scenes: ClassVar[int] = 24_000
    steps: ClassVar[int] = 4000
    batch: ClassVar[int] = 64
    rate: ClassVar[float] = 4e-3

    @property
    def name(self) -> str:
        """The name of the task's module, and of the model's file."""
        return type(self).__module__.rsplit(".", 1)[-1]

    @property
    def path(self) -> Path:
        """The model's file."""
        return FOLDER / f"{self.name}.onnx"

    @abstractmethod
    def network(self) -> nn.Module:
        """Return the network, untrained; `forward` takes `inputs` by these names."""

    @abstractmethod
    def scene(self, rng: np.random.Generator) -> S:
        """Draw a scene."""

    @abstractmethod
    def row(self, scene: S) -> Rows:
        """Return what training and measurement take of a scene."""

    @abstractmethod
    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch, whose pictures are in [0, 1] already."""

    @abstractmethod
    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """Return how good the network is; the first is the figure of merit."""

    @abstractmethod
    def sample(self, scene: S, rng: np.random.Generator) -> Sample | None:
        """Return a question about a scene, or None where there is none to ask."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The arguments of an `Explainer` of the file."""
        return {}

    @property
    def companions(self) -> Sequence[Path]:
        """The files that `beside` writes."""
        return ()

    def beside(self, net: Any) -> None:
        """Write what belongs to the file: of a tower of pictures, the tower of sentences."""

    def rows(self, seed: int, count: int) -> Rows:
        """Return the rows of the first *count* scenes of a seed's series."""
        rows = [self.row(self.scene(np.random.default_rng([seed, k]))) for k in range(count)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def samples(self, seed: int, count: int) -> Iterator[Sample]:
        """Yield *count* samples of a seed's series; those of `HELD_OUT` and above were never trained on."""
        number = 0
        while count:
            rng = np.random.default_rng([seed, number])
            found = self.sample(self.scene(rng), np.random.default_rng([seed, number, 1]))
            number += 1
            if found is not None:
                count -= 1
                yield found


def shapes(rng: np.random.Generator, size: int = SIZE, *, count: int | None = None) -> Scene:
    """Draw a scene of `world.py` that has an object."""
    while not (scene := sample(rng, size, count=count)).objects:
        pass
    return scene


def everything(scene: Scene) -> Mask:
    """Where any object of a scene is."""
    return np.logical_or.reduce([thing.mask for thing in scene.objects])


def planes(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`[H, W, 3]` or `[H, W]` to `[3, H, W]` or `[1, H, W]`."""
    return np.ascontiguousarray(image.transpose(2, 0, 1) if image.ndim == 3 else image[None])


def real(rows: Rows, names: Sequence[str]) -> Rows:
    """Return of *rows* the inputs *names*, as the network takes them."""
    return {n: np.float32(rows[n]) / 255 if rows[n].dtype == np.uint8 else rows[n] for n in names}
