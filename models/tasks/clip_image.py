"""Pictures and sentences as vectors, near where the sentence is true: the two towers of CLIP and SigLIP, small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.family import FOLDER, PICTURE, SIZE, Rows, Run, Sample, Task, everything, planes, shapes
from models.layers import Layer, block, trunk, turned
from models.world import LABELS, PALETTE, Scene
from onnxcam.converters import from_pytorch
from onnxcam.metadata.card import Card

WIDTH, CONTEXT, CELLS = 48, 16, SIZE // 8
START, END = "<|startoftext|>", "<|endoftext|>"
PAIRS = tuple((colour, label) for colour in PALETTE for label in LABELS)
THINGS = tuple(f"{colour} {label}" for colour, label in PAIRS) + tuple(f"{c} shape" for c in PALETTE) + LABELS
"""What a sentence may be about: a colour and a shape, a colour, a shape."""
FORMS = ("a {}", "the {}", "{}", "a photo of a {}", "a picture of a {}", "a picture with a {} in it")
TEXT = FOLDER / "clip_text.onnx"
TOKENIZER = FOLDER / "clip_text.tokenizer.json"
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
LEAST = 24  # visible pixels of an object that a sample asks for


def sentence(thing: str, form: str = FORMS[0]) -> str:
    """Return a sentence about a thing."""
    words = form.format(thing)
    return words.replace("a orange", "an orange")


def tokenizer() -> Any:
    """Return the tokenizer, in the form of CLIP's: lower case, byte pairs, a start and an end."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    merges = _merges(Counter(" ".join(sentence(thing, form) for thing in THINGS for form in FORMS).split()))
    tokens = ["<unk>", START, END, *ALPHABET, *(f"{letter}</w>" for letter in ALPHABET), *map("".join, merges)]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", end_of_word_suffix="</w>"))
    made.add_special_tokens(["<unk>", START, END])
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    ends = {"special_tokens": [(each, vocabulary[each]) for each in (START, END)]}
    made.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", **ends)
    made.enable_padding(length=CONTEXT, pad_id=vocabulary[END], pad_token=END)
    return made


def _merges(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the merges that make each word one token, the most frequent pair first: the library's order is random."""
    parts = {word: [*word[:-1], f"{word[-1]}</w>"] for word in counts}
    merges: list[tuple[str, str]] = []
    while any(len(each) > 1 for each in parts.values()):
        pairs = Counter[tuple[str, str]]()
        for word, each in parts.items():
            for pair in pairwise(each):
                pairs[pair] += counts[word]
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        parts = {word: _merged(each, merges[-1]) for word, each in parts.items()}
    return merges


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if found and (found[-1], part) == pair:
            found[-1] += part
        else:
            found.append(part)
    return found


class Text(nn.Module):
    """Two layers of causal attention; the vector at the end token is the sentence's."""

    def __init__(self, tokens: int, end: int) -> None:
        super().__init__()
        self.end = end
        self.tokens = nn.Embedding(tokens, WIDTH)
        self.places = nn.Parameter(0.3 * torch.randn(1, CONTEXT, WIDTH))
        self.layers = nn.ModuleList(Layer(WIDTH, causal=True) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the vectors of sentences, int64 `[N, 16]` to `[N, 48]`."""
        x = self.tokens(input_ids) + self.places
        for layer in self.layers:
            x = layer(x)
        last = (input_ids == self.end).int().argmax(1)
        return self.head(self.norm(x).gather(1, last[:, None, None].expand(-1, 1, WIDTH))[:, 0])


class Network(nn.Module):
    """The tower of pictures: seven convolutions, the mean of each channel, one linear layer. `text` is the other."""

    def __init__(self) -> None:
        super().__init__()
        words = tokenizer()
        self.body = nn.Sequential(trunk(48), block(48, 64), block(64, 48))
        self.head = nn.Linear(48, WIDTH, bias=False)
        self.text = Text(words.get_vocab_size(), words.token_to_id(END))
        self.scale, self.bias = nn.Parameter(torch.tensor(2.3)), nn.Parameter(torch.tensor(-5.0))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 64, 64]`, to vectors `[N, 48]`."""
        return self.head(self.body(image).mean((2, 3)))


class ClipImage(Task[Scene]):
    """Where in the picture the thing of a sentence is."""

    card = Card("embedding", PICTURE)
    outputs = ("image_embeds",)
    floor = 0.8
    scenes = 12_000
    steps = 2500
    network = Network

    def __init__(self) -> None:
        self._ids: Tensor | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The tower of sentences."""
        return {"text_model": TEXT}

    @property
    def companions(self) -> tuple[Path, ...]:
        """The tower of sentences and its tokenizer."""
        return TEXT, TOKENIZER

    def scene(self, rng: np.random.Generator) -> Scene:
        """Draw one shape to four."""
        return shapes(rng)

    def row(self, scene: Scene) -> Rows:
        """The picture, which things are in it, one of them, and how much of each cell that one fills."""
        seen = [thing for thing in scene.objects if thing.mask.sum() >= LEAST] or list(scene.objects)
        chosen = seen[int(scene.image.sum()) % len(seen)]
        cover = chosen.mask.reshape(CELLS, SIZE // CELLS, CELLS, SIZE // CELLS).mean((1, 3))
        named = {name for one in scene.objects for name in (_name(one), f"{one.colour} shape", one.label)}
        return {
            "image": planes(scene.image),
            "true": np.float32([thing in named for thing in THINGS]),
            "thing": np.int64(THINGS.index(_name(chosen))),
            "cover": np.float32(cover)[None],
        }

    def loss(self, net: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The sigmoid loss of SigLIP (arXiv:2303.15343) of whole pictures, and two terms that know where one thing is.

        The mean vector over that thing is to be near its sentence, of 60, as in RegionCLIP (arXiv:2112.09106); and the
        cells that are near the sentence are to be those of the thing.
        """
        image, cover = turned(batch["image"], batch["cover"])
        features, scale, thing = net.body(image), net.scale.exp(), batch["thing"]
        words = F.normalize(net.text(self._sentences()))
        logits = scale * F.normalize(net.head(features.mean((2, 3)))) @ words.T + net.bias
        late = -F.logsigmoid((2 * batch["true"] - 1) * logits).sum(1).mean()
        inside = (features * cover).sum((2, 3)) / (cover.sum((2, 3)) + 1e-3)
        near = F.cross_entropy(scale * F.normalize(net.head(inside)) @ words[: len(PAIRS)].T, thing)
        cells = torch.einsum("nkhw,dk,nd->nhw", features, net.head.weight, words[thing]).relu()
        norms = [(x.square().sum((1, 2)) + 1e-3).sqrt() for x in (cells, cover[:, 0])]
        astray = 1 - (cells * cover[:, 0]).sum((1, 2)) / (norms[0] * norms[1])
        return late / 4 + near + astray.mean()

    def _sentences(self) -> Tensor:
        """Return a sentence about every thing, in forms drawn anew for each call."""
        if self._ids is None:
            words = tokenizer()
            ids = [[words.encode(sentence(thing, form)).ids for form in FORMS] for thing in THINGS]
            self._ids = torch.tensor(ids)
        return self._ids[torch.arange(len(THINGS)), torch.randint(len(FORMS), (len(THINGS),))]

    def beside(self, net: Any) -> None:
        """Write the tower of sentences and its tokenizer."""
        words = tokenizer()
        words.save(str(TOKENIZER), pretty=False)
        example = {"input_ids": torch.tensor([words.encode("a red star").ids])}
        from_pytorch(net.text, TEXT, example, dynamic="batch", outputs=["text_embeds"])

    def figures(self, run: Run, rows: Rows) -> dict[str, float]:
        """How often the best of the shapes, of the colours, and of "a red star" and its like, is in the picture."""
        words = tokenizer()
        ids = np.array([words.encode(sentence(thing)).ids for thing in THINGS])
        (text,) = onnxruntime.InferenceSession(TEXT, providers=["CPUExecutionProvider"]).run(None, {"input_ids": ids})
        likeness, true = run(rows)[0] @ (text / np.linalg.norm(text, axis=1, keepdims=True)).T, rows["true"] > 0
        pairs, colours = len(PAIRS), len(PAIRS) + len(PALETTE)
        parts = {"shape": (colours, len(THINGS)), "colour": (pairs, colours), "both": (0, pairs)}
        each = np.arange(len(true))
        return {
            name: float(true[each, start + likeness[:, start:end].argmax(1)].mean())
            for name, (start, end) in parts.items()
        }

    def sample(self, scene: Scene, rng: np.random.Generator) -> Sample | None:
        """A thing of the picture, or what tells it from another one."""
        seen = [thing for thing in scene.objects if thing.mask.sum() >= LEAST]
        if not seen:
            return None
        chosen = [seen[i] for i in rng.permutation(len(seen))]
        target = f'like="{sentence(_name(chosen[0]))}"'
        if len(chosen) > 1 and rng.random() < 0.5:
            target += f' unlike="{sentence(_name(chosen[1]))}"'
        return Sample({"image": scene.image}, target, chosen[0].mask, everything(scene))


def _name(thing: Any) -> str:
    return f"{thing.colour} {thing.label}"


TASK = ClipImage()
