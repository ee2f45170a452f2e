"""A sentence on a picture, word by word: a transformer's decoder that looks at the cells of a small CNN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import PICTURE, SIZE, Rows, Run, Sample, Task, everything, planes, shapes
from models.layers import Layer, trunk
from models.world import LABELS, PALETTE, Object, Scene
from onnxcam.metadata.card import Card

RELATIONS = ("left of", "right of", "above", "below")
START, END = "<start>", "<end>"
WORDS = ("", START, END, *PALETTE, *LABELS, "left", "right", "of", "above", "below")
LONGEST = 7  # <start> red circle left of blue square; the same without <start> and with <end>
WIDTH = 48


@dataclass(frozen=True)
class Told:
    """A scene, and one of the sentences that are true of it: each word with the objects that it speaks of."""

    scene: Scene
    words: tuple[tuple[str, tuple[Object, ...]], ...]


class Network(nn.Module):
    """A trunk of 8 x 8 cells that know their places, and two layers of causal attention to words and cells."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = trunk(WIDTH)
        self.cells = nn.Parameter(0.3 * torch.randn(1, (SIZE // 8) ** 2, WIDTH))
        self.words = nn.Embedding(len(WORDS), WIDTH)
        self.places = nn.Parameter(0.3 * torch.randn(1, LONGEST, WIDTH))
        self.layers = nn.ModuleList(Layer(WIDTH, causal=True, cross=True) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(WORDS))

    def look(self, image: Tensor) -> Tensor:
        """Return the cells of RGB in [0, 1], `[N, 64, 48]`."""
        return self.trunk(image).flatten(2).transpose(1, 2) + self.cells

    def say(self, cells: Tensor, words: Tensor) -> Tensor:
        """Return logits of the next word at each place, `[N, 7, 24]`."""
        x = self.words(words) + self.places
        for layer in self.layers:
            x = layer(x, cells)
        return self.head(self.norm(x))

    def forward(self, image: Tensor, words: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, and the words so far, int64 `[N, 7]`, to logits of the next `[N, 7, 24]`."""
        return self.say(self.look(image), words)


class Captioner(Task[Told]):
    """A word after the words before it."""

    card = Card("caption", PICTURE, WORDS, {"words": WORDS})
    inputs = ("image", "words")
    floor = 0.6
    steps = 5000
    rate = 2e-3
    network = Network

    def scene(self, rng: np.random.Generator) -> Told:
        """Draw one shape or two, and say one of the things that are true of them."""
        scene = shapes(rng, count=1 if rng.random() < 0.25 else 2)
        return Told(scene, _sentence(*(scene.objects[i] for i in rng.permutation(len(scene.objects)))))

    def row(self, scene: Told) -> Rows:
        """The picture, the words so far at each step and the next; and all sentences that are true, to compare with."""
        sentences = np.zeros((2, LONGEST), np.int64)
        for k, things in enumerate([scene.scene.objects, scene.scene.objects[::-1]]):
            sentences[k] = _indices([word for word, _ in _sentence(*things)] + [END])
        words = [word for word, _ in scene.words]
        following, image = _indices([*words, END]), planes(scene.scene.image)
        return {"image": image, "words": _indices([START, *words]), "next": following, "true": sentences}

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each next word, in all sentences that are true."""
        sentences = batch["true"].flatten(0, 1)
        words = F.pad(sentences[:, :-1], (1, 0), value=WORDS.index(START))
        logits = net.say(net.look(batch["image"]).repeat_interleave(2, 0), words)
        return F.cross_entropy(logits.flatten(0, 1), sentences.flatten(), ignore_index=0)

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """The share of sentences, each word the best after those before it, that are true; and of right next words.

        Which object comes first is free, so the first word does not count among the latter.
        """
        (logits,) = run(rows)
        later = rows["next"][:, 1:] > 0
        right = (logits.argmax(2) == rows["next"])[:, 1:][later].mean()
        words = np.zeros_like(rows["words"])
        words[:, 0] = WORDS.index(START)
        for step in range(LONGEST):
            best = run({**rows, "words": words})[0][:, step].argmax(1)
            if step + 1 < LONGEST:
                words[:, step + 1] = best
        said = np.concatenate([words[:, 1:], best[:, None]], 1)
        ended = (said == WORDS.index(END)).cumsum(1) - (said == WORDS.index(END)) > 0
        true = (np.where(ended, 0, said)[:, None] == rows["true"]).all(2).any(1)
        return {"true captions": float(true.mean()), "next word": float(right)}

    def sample(self, scene: Told, rng: np.random.Generator) -> Sample:
        """One word of the sentence."""
        at = int(rng.integers(len(scene.words)))
        word, things = scene.words[at]
        before = " ".join(word for word, _ in scene.words[:at])
        truth = np.logical_or.reduce([thing.mask for thing in things])
        return Sample({"image": scene.scene.image}, f'word={word} after="{before}"', truth, everything(scene.scene))


def _sentence(one: Object, other: Object | None = None) -> tuple[tuple[str, tuple[Object, ...]], ...]:
    words = [(one.colour, (one,)), (one.label, (one,))]
    if other is not None:
        words += [(word, (one, other)) for word in _relation(one, other).split()]
        words += [(other.colour, (other,)), (other.label, (other,))]
    return tuple(words)


def _relation(one: Object, other: Object) -> str:
    """How *one* lies to *other*, along the axis on which their boxes' middles are farther apart."""
    (x1, y1, x2, y2), (a1, b1, a2, b2) = one.box, other.box
    across, down = x1 + x2 - a1 - a2, y1 + y2 - b1 - b2
    if abs(across) > abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def _indices(words: list[str]) -> np.ndarray:
    return np.array([WORDS.index(word) for word in words] + [0] * (LONGEST - len(words)))


TASK = Captioner()
