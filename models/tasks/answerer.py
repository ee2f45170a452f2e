"""Answers to questions on a picture: the question modulates the features of the picture (FiLM, arXiv:1709.07871)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import PICTURE, Rows, Run, Sample, Task, everything, planes, shapes
from models.layers import trunk, turned
from models.world import LABELS, PALETTE, Mask, Scene
from onnxcam.metadata.card import Card

PLURALS = tuple(f"{label}es" if label.endswith("s") else f"{label}s" for label in LABELS)
WORDS = ("", "what", "colour", "is", "the", "there", "a", "how", "many", *LABELS, *PLURALS)
NUMBERS = ("zero", "one", "two", "three", "four")
ANSWERS = (*PALETTE, "yes", "no", *NUMBERS)
LONGEST = 5  # what colour is the circle
ASKED = 4  # questions on each scene


@dataclass(frozen=True)
class Question:
    """A question, its answer, and where what it asks for is."""

    words: str
    answer: str
    truth: Mask


class Network(nn.Module):
    """A trunk, two convolutions that the question scales and shifts, the mean and the largest of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = trunk(40)
        self.words, self.lstm = nn.Embedding(len(WORDS), 24, padding_idx=0), nn.LSTM(24, 40, batch_first=True)
        self.film = nn.Linear(40, 4 * 48)
        self.conv1, self.norm1 = nn.Conv2d(40, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48, affine=False)
        self.conv2, self.norm2 = nn.Conv2d(48, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48, affine=False)
        self.head = nn.Sequential(nn.Linear(2 * 48, 48), nn.ReLU(), nn.Linear(48, len(ANSWERS)))

    def answer(self, features: Tensor, question: Tensor) -> Tensor:
        """Features of the trunk and int64 `[N, 5]` to logits `[N, 17]`."""
        asked = self.lstm(self.words(question))[0][:, -1]
        scale1, shift1, scale2, shift2 = self.film(asked)[..., None, None].chunk(4, 1)
        x = torch.relu(self.norm1(self.conv1(features)) * (1 + scale1) + shift1)
        x = torch.relu(self.norm2(self.conv2(x)) * (1 + scale2) + shift2)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, and the question's words, int64 `[N, 5]`, to logits `[N, 17]`."""
        return self.answer(self.trunk(image), question)


class Answerer(Task[tuple[Scene, Sequence[Question]]]):
    """The answer to a question."""

    card = Card("answer", PICTURE, ANSWERS, {"question": WORDS})
    inputs = ("image", "question")
    floor = 0.6
    steps = 4000
    rate = 3e-3
    network = Network

    def scene(self, rng: np.random.Generator) -> tuple[Scene, Sequence[Question]]:
        """Draw one to four shapes, and ask four questions."""
        scene = shapes(rng)
        return scene, [_question(scene, rng) for _ in range(ASKED)]

    def row(self, scene: tuple[Scene, Sequence[Question]]) -> Rows:
        """The picture, and the questions with their answers; the first one by itself too."""
        questions = np.array([_indices(each.words) for each in scene[1]])
        answers = np.array([ANSWERS.index(each.answer) for each in scene[1]])
        return {"image": planes(scene[0].image), "question": questions[0], "questions": questions, "answers": answers}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the answers, under any turn; the features of a picture serve all its questions."""
        features = net.trunk(*turned(batch["image"])).repeat_interleave(ASKED, 0)
        logits = net.answer(features, batch["questions"].flatten(0, 1))
        return F.cross_entropy(logits, batch["answers"].flatten())

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The share of right answers, in all and by the question's first word."""
        right = run(rows)[0].argmax(1) == rows["answers"][:, 0]
        first = {word: rows["question"][:, 0] == WORDS.index(word) for word in ("what", "is", "how")}
        return {"right": float(right.mean()), **{f"{word} …": float(right[of].mean()) for word, of in first.items()}}

    def sample(self, scene: tuple[Scene, Sequence[Question]], rng: np.random.Generator) -> Sample | None:
        """The right answer to the first question, if what it asks for is in the picture."""
        image, (question, *_) = scene
        if not question.truth.any():
            return None
        feeds = {"image": image.image, "question": question.words}
        return Sample(feeds, question.answer, question.truth, everything(image))


def _question(scene: Scene, rng: np.random.Generator) -> Question:
    """A question of one of three kinds, on a shape that is there two times in three."""
    label = str(rng.choice(sorted(scene.labels) if rng.random() < 0.6 else LABELS))
    things = [thing for thing in scene.objects if thing.label == label]
    kind = rng.integers(3)
    if kind == 0 and len(things) == 1:
        return Question(f"what colour is the {label}", things[0].colour, things[0].mask)
    if kind == 1:
        return Question(f"how many {PLURALS[LABELS.index(label)]}", NUMBERS[len(things)], scene.mask(label))
    return Question(f"is there a {label}", "yes" if things else "no", scene.mask(label))


def _indices(words: str) -> np.ndarray:
    found = [WORDS.index(word) for word in words.split()]
    return np.array(found + [0] * (LONGEST - len(found)))


TASK = Answerer()
