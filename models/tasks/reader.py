"""The text in a picture: convolutions, a bidirectional LSTM and CTC (CRNN, arXiv:1507.05717)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import Rows, Run, Sample, Task, planes
from models.layers import block
from models.letters import HEIGHT, LETTERS, WIDTH, Line, sample
from onnxcam.metadata.card import Card

ALPHABET = ("", *LETTERS)  # the blank first
LONGEST = 6


class Network(nn.Module):
    """Convolutions down to 32 columns of 2 x 48 features, an LSTM along them in both directions, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(block(3, 24, 2), block(24, 32, 2), block(32, 48, (2, 1)), block(48, 48, (2, 1)))
        self.lstm = nn.LSTM(48 * HEIGHT // 16, 40, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * 40, len(ALPHABET))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 32, 128]`, to logits `[N, 32, 37]`, from left to right."""
        columns = self.body(image).flatten(1, 2).transpose(1, 2)
        return self.head(self.lstm(columns)[0])


class Reader(Task[Line]):
    """The whole text, or one letter of it."""

    card = Card("text", f"resize={HEIGHT}x{WIDTH},range=0-1", ALPHABET)
    floor = 0.9
    scenes = 24_000
    steps = 4000
    network = Network

    def scene(self, rng: np.random.Generator) -> Line:
        """Draw two to six letters."""
        return sample(rng)

    def row(self, scene: Line) -> Rows:
        """The picture and the letters, 0 behind the last."""
        text = np.zeros(LONGEST, np.int64)
        text[: len(scene.text)] = [ALPHABET.index(letter) for letter in scene.text]
        return {"image": planes(scene.image), "text": text}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Connectionist temporal classification."""
        scores = net(batch["image"]).log_softmax(2).transpose(0, 1)
        lengths = (batch["text"] > 0).sum(1)
        return F.ctc_loss(scores, batch["text"], torch.full_like(lengths, len(scores)), lengths, zero_infinity=True)

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The share of letters that are right, by edit distance, and of texts that are right altogether."""
        (logits,) = run(rows)
        found = [read(each) for each in logits]
        texts = ["".join(ALPHABET[letter] for letter in row) for row in rows["text"]]
        errors = [_distance(a, b) for a, b in zip(found, texts, strict=True)]
        return {"letters": 1 - sum(errors) / sum(map(len, texts)), "texts": float(np.mean(np.array(errors) == 0))}

    def sample(self, scene: Line, rng: np.random.Generator) -> Sample:
        """The text, or every other time one letter of it."""
        feeds, everything = {"image": scene.image}, scene.mask()
        if rng.random() < 0.5:
            return Sample(feeds, f'text="{scene.text}"', everything, everything)
        at = int(rng.integers(len(scene.text)))
        return Sample(feeds, f'text="{scene.text}" at={at}', scene.mask(slice(at, at + 1)), everything)


def read(logits: np.ndarray) -> str:
    """Return the best letter of each step, repetitions joined and blanks left out."""
    best = logits.argmax(1)
    return "".join(ALPHABET[letter] for letter, before in zip(best, [0, *best[:-1]], strict=True) if letter != before)


def _distance(a: str, b: str) -> int:
    """How many insertions, deletions and replacements make *b* of *a*."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


TASK = Reader()
