"""Train the shapes network, measure it, export it: `python models/train_shapes.py`.

A small CNN with a pooled linear head (so that CAM applies) says which of the six shapes of `world.py` are in
a picture. It is an instrument for testing explanations: a second term of its loss makes its evidence lie on
the objects, so a map that points elsewhere is the explanation's fault. `--words-only` leaves that term out.
Writes `onnxcam/assets/`: the network, two sample pictures and their truth. Prints the table of `README.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from models.layers import block, turned
from models.world import LABELS, Scene, sample

ASSETS = Path(__file__).parents[1] / "onnxcam" / "assets"
TRAINING, HELD_OUT, SHOWN = 0, 1, 2  # first word of a scene's seed; the second is its number
SHOWN_NUMBERS = (101, 66)  # the sample pictures: scenes that look good to a person
SIZE, CELLS = 96, 12  # sides of the picture and of the last activation
METADATA = {
    "schema": 1,
    "task": "multi-label",
    "preprocess": f"resize={SIZE}x{SIZE},range=0-1",
    "labels": LABELS,
}


class Shapes(nn.Module):
    """Six 3 x 3 convolutions down to 12 x 12, the mean of each channel, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 16, stride=2)
        self.layer1 = block(16, 32, stride=2)
        self.layer2 = block(32, 32)
        self.layer3 = block(32, 48, stride=2)
        self.layer4 = block(48, 64)
        self.layer5 = block(64, 64)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, len(LABELS))

    def features(self, image: Tensor) -> Tensor:
        """The last activation, `[N, 64, 12, 12]`."""
        x = self.layer2(self.layer1(self.stem(image)))
        return self.layer5(self.layer4(self.layer3(x)))

    def classify(self, features: Tensor) -> Tensor:
        """One logit a class, `[N, 6]`."""
        return self.head(self.pool(features).flatten(1))

    def forward(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], `[N, 3, 96, 96]`, to logits."""
        return self.classify(self.features(image))


# Data


@dataclass(frozen=True)
class Data:
    """Scenes as arrays, one row each."""

    images: Tensor  # uint8 [N, 3, 96, 96]
    present: Tensor  # [N, 6], which classes are there
    cover: Tensor  # uint8 [N, 6, 12, 12], how much of each cell a class fills
    masks: Tensor | None  # bool [N, 6, 96, 96], where it is visible


def scene(seed: int, number: int, size: int = SIZE) -> Scene:
    """The scene of this number in the series of this seed."""
    return sample(np.random.default_rng([seed, number]), size)


def render(seed: int, count: int, *, masks: bool = False) -> Data:
    """The first `count` scenes of a seed's series."""
    chunks = [(seed, range(i, min(i + 500, count)), masks) for i in range(0, count, 500)]
    with ProcessPoolExecutor(torch.get_num_threads()) as pool:
        columns = zip(*pool.map(_render, chunks), strict=True)
        return Data(*(None if c[0] is None else torch.from_numpy(np.concatenate(c)) for c in columns))


def _render(chunk: tuple[int, range, bool]) -> tuple[np.ndarray | None, ...]:
    seed, numbers, keep = chunk
    scenes = [scene(seed, i) for i in numbers]
    images = np.stack([s.image.transpose(2, 0, 1) for s in scenes])
    present = np.float32([[label in s.labels for label in LABELS] for s in scenes])
    masks = np.stack([[s.mask(label) for label in LABELS] for s in scenes])
    cover = masks.reshape(-1, len(LABELS), CELLS, SIZE // CELLS, CELLS, SIZE // CELLS).mean((3, 5))
    return images, present, np.rint(255 * cover).astype(np.uint8), masks if keep else None


# Training


def train(data: Data, *, epochs: int, guide: float, batch: int = 64, rate: float = 4e-3) -> Shapes:
    """Train on which classes are there and, by the weight `guide`, on where: AdamW, one cycle."""
    torch.manual_seed(0)
    net = Shapes().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    steps = len(data.images) // batch
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * steps)
    for epoch in range(epochs):
        total, start = 0.0, time.perf_counter()
        for rows in torch.randperm(len(data.images))[: steps * batch].view(steps, batch):
            images, cover = (b.float() / 255 for b in turned(data.images[rows], data.cover[rows]))
            features = net.features(images.contiguous(memory_format=torch.channels_last))
            loss = F.binary_cross_entropy_with_logits(net.classify(features), data.present[rows])
            loss = loss + guide * astray(net, features, cover, data.present[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2}  loss {total / steps:.4f}  {time.perf_counter() - start:.0f} s", flush=True)
    return net.eval()


def astray(net: Shapes, features: Tensor, cover: Tensor, present: Tensor) -> Tensor:
    """One minus the cosine between the CAM of a present class and what its objects cover, on average."""
    cam = torch.einsum("nkhw,ck->nchw", features, net.head.weight).relu()
    norms = [(x.square().sum((2, 3)) + 1e-3).sqrt() for x in (cam, cover)]
    cosine = (cam * cover).sum((2, 3)) / (norms[0] * norms[1])
    return (present * (1 - cosine)).sum() / present.sum()


# Measurement


def gradcam(net: Shapes, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and by hand the Grad-CAM map of every class at the picture's size, `[N, 6, 96, 96]`."""
    features = net.features(images).detach().requires_grad_()
    logits = net.classify(features)
    maps = []
    for column in logits.unbind(1):
        (slope,) = torch.autograd.grad(column.sum(), features, retain_graph=True)
        maps.append((slope.mean((2, 3), keepdim=True) * features).sum(1).relu())
    size = images.shape[2:]
    return logits.detach(), F.interpolate(torch.stack(maps, 1).detach(), size, mode="bilinear")


def evaluate(net: Shapes, data: Data, batch: int = 100) -> dict[str, np.ndarray]:
    """Figures by class; a hit is a map whose peak lies on an object of its class, for each class present."""
    scores, hits = [], []
    for images, masks in zip(data.images.split(batch), data.masks.split(batch), strict=True):
        logits, maps = gradcam(net, images.float() / 255)
        peak = maps.flatten(2).argmax(2, keepdim=True)
        hits.append(masks.flatten(2).gather(2, peak)[..., 0])
        scores.append(logits)
    score, hit, present = torch.cat(scores), torch.cat(hits), data.present.bool()
    centre = data.masks[:, :, SIZE // 2, SIZE // 2]
    return {
        "accuracy": ((score > 0) == present).float().mean(0).numpy(),
        "average precision": np.array([_precision(score[:, c], present[:, c]) for c in range(len(LABELS))]),
        "pointing, Grad-CAM": _over(hit, present),
        "pointing, centre": _over(centre, present),
        "pointing, chance": _over(data.masks.float().mean((2, 3)), present),
    }


def _over(value: Tensor, present: Tensor) -> np.ndarray:
    return ((value * present).sum(0) / present.sum(0)).numpy()


def _precision(score: Tensor, truth: Tensor) -> float:
    ranked = truth[score.argsort(descending=True)].float()
    precision = ranked.cumsum(0) / torch.arange(1, len(ranked) + 1)
    return float((precision * ranked).sum() / ranked.sum())


def table(figures: dict[str, np.ndarray]) -> str:
    """The figures as Markdown, in per cent."""
    rows = [["held-out scenes, %", *LABELS, "mean"], ["---"] + ["---:"] * (len(LABELS) + 1)]
    rows += [[name, *(f"{100 * x:.1f}" for x in [*row, row.mean()])] for name, row in figures.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


# Assets


def export(net: Shapes, path: Path) -> None:
    """Write the network as ONNX; its last activation is the value `features`."""
    image = torch.rand(2, 3, SIZE, SIZE)
    program = torch.onnx.export(
        net.to(memory_format=torch.contiguous_format),
        (image,),
        input_names=["image"],
        output_names=["logits"],
        opset_version=18,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    model = program.model
    _forget_origin(model)
    next(n for n in reversed(model.graph) if n.op_type == "Relu").outputs[0].name = "features"
    model.metadata_props["onnxcam"] = json.dumps(METADATA)
    ir.save(model, path)


def _forget_origin(model: ir.Model) -> None:
    """Keep of the exporter's remarks only the module names: the others quote this machine's files."""
    for node in model.graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        node.metadata_props.clear()
        node.doc_string = None
        if scopes is not None:
            node.metadata_props["pkg.torch.onnx.name_scopes"] = scopes
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph:
        for value in node.outputs:
            value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.doc_string = model.doc_string = None


def difference(net: Shapes, path: Path, images: Tensor) -> float:
    """The largest difference between the exported file and the network."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images.numpy()})
    return float(np.abs(logits - net(images).detach().numpy()).max())


def save_samples(folder: Path, size: int = 288) -> None:
    """Write the sample pictures, what is in them, and for each a label map whose value k is the k-th object."""
    truth = {}
    for k, number in enumerate(SHOWN_NUMBERS, start=1):
        shown = scene(SHOWN, number, size)
        labels = np.zeros((size, size), np.uint8)
        for value, thing in enumerate(shown.objects, start=1):
            labels[thing.mask] = value
        cv2.imwrite(str(folder / f"shapes_{k}.png"), shown.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        cv2.imwrite(str(folder / f"shapes_{k}_masks.png"), labels)
        truth[f"shapes_{k}.png"] = [{"label": o.label, "box": o.box} for o in shown.objects]
    (folder / "shapes_truth.json").write_text(json.dumps(truth) + "\n", "utf-8")


def main() -> None:
    """Train, measure, and unless told otherwise write the assets."""
    parser = argparse.ArgumentParser(description="Train, measure and export the shapes network.")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--scenes", type=int, default=24_000)
    parser.add_argument("--words-only", action="store_true", help="no masks in training; writes no assets")
    options = parser.parse_args()

    start = time.perf_counter()
    net = train(render(TRAINING, options.scenes), epochs=options.epochs, guide=0.0 if options.words_only else 1.0)
    held_out = render(HELD_OUT, 2000, masks=True)
    print(table(evaluate(net, held_out)))
    if not options.words_only:
        path = ASSETS / "shapes.onnx"
        export(net, path)
        save_samples(ASSETS)
        apart = difference(net, path, held_out.images[:64].float() / 255)
        print(f"{path.name}: {path.stat().st_size} bytes, at most {apart:.1e} from PyTorch")
        if apart > 1e-3:
            raise SystemExit("error: the exported file does not compute what the network computes")
    print(f"{sum(p.numel() for p in net.parameters())} parameters, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
