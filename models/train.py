"""Train networks of the family, measure them, write `models/NAME.onnx`: `python -m models.train NAME…`.

What is measured is the file, in ONNX Runtime, on scenes that the network never saw. One seed, one number of steps:
the same versions and number of threads give the same weights. `classifier` is made by `train_shapes.py`.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from models.family import FOLDER, HELD_OUT, TRAINING, Rows, Run, Task, real
from models.tasks import FAMILY, task
from onnxcam.converters import from_pytorch

MEASURED = 1000  # held-out scenes
HERE = tuple(name for name in FAMILY if task(name).path.parent == FOLDER)


def train(task: Task[Any], steps: int) -> nn.Module:
    """Train the task's network: AdamW, one cycle."""
    torch.manual_seed(0)
    net = _laid_out(task.network(), torch.channels_last)
    rows = {name: torch.from_numpy(array) for name, array in task.rows(TRAINING, task.scenes).items()}
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, task.rate, steps)
    total, start = 0.0, time.perf_counter()
    for step in range(1, steps + 1):
        chosen = torch.randint(task.scenes, (task.batch,))
        batch = {name: column[chosen] for name, column in rows.items()}
        batch |= {n: batch[n].float() / 255 for n in task.inputs if batch[n].dtype == torch.uint8}
        loss = task.loss(net, batch)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        cycle.step()
        total += loss.item()
        if step % max(steps // 10, 1) == 0:
            print(f"step {step:5}  loss {total * 10 / steps:.4f}  {time.perf_counter() - start:.0f} s", flush=True)
            total = 0.0
    return _laid_out(net, torch.contiguous_format).eval()


def _laid_out(net: nn.Module, layout: torch.memory_format) -> nn.Module:
    """Lay out the weights of two-dimensional convolutions, and with them all pictures inside the network."""
    for weight in net.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=layout)
    return net


def write(task: Task[Any], net: nn.Module) -> None:
    """Convert the network, proven equal, with its card."""
    rows = real(task.rows(HELD_OUT, 2), task.inputs)
    example = {name: torch.from_numpy(array[:1]) for name, array in rows.items()}
    card = {part: value for part, value in vars(task.card).items() if value}
    made = from_pytorch(net, task.path, example, dynamic=task.dynamic, outputs=task.outputs, **card)
    for words in made.warnings:
        print(f"note: {words}")


def runner(task: Task[Any], batch: int = 100) -> Run:
    """Return the task's file as a function from rows to outputs."""
    session = onnxruntime.InferenceSession(task.path, providers=["CPUExecutionProvider"])

    def run(rows: Rows) -> list[np.ndarray]:
        feeds = real(rows, task.inputs)
        count = len(feeds[task.inputs[0]])
        pieces = [
            session.run(None, {name: array[i : i + batch] for name, array in feeds.items()})
            for i in range(0, count, batch)
        ]
        return [np.concatenate(each) for each in zip(*pieces, strict=True)]

    return run


def main() -> None:
    """Train, write and measure the networks that are named."""
    parser = argparse.ArgumentParser(description="Train, measure and write networks of the family.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(HERE)}")
    parser.add_argument("--steps", type=int, help="for a quick try; it writes the file all the same")
    options = parser.parse_args()
    if "classifier" in options.names:
        parser.error("'classifier' is not trained here; it is made by python models/train_shapes.py")
    for name in options.names or HERE:
        each, start = task(name), time.perf_counter()
        net = train(each, options.steps or each.steps)
        seconds = time.perf_counter() - start
        write(each, net)
        each.beside(net)
        figures = each.figures(runner(each), each.rows(HELD_OUT, MEASURED))
        merit = ", ".join(f"{what} {value:.3f}" for what, value in figures.items())
        size, weights = each.path.stat().st_size, sum(p.numel() for p in net.parameters())
        print(f"| `{name}` | {each.card.task} | {size / 1000:.0f} kB | {weights:,} | {seconds:.0f} s | {merit} |")


if __name__ == "__main__":
    main()
