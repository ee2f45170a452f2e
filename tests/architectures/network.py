"""What a row of the table is: a module, the tensors that go in, the one that comes out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest

from tests.optional import nn, torch

hf = pytest.importorskip("transformers")

SIZE = int(os.environ.get("SIZE", "64"))
"""The length of the sides of images; tools/layers_transformers.py sets a larger one."""
PICTURE = (1, 3, SIZE, SIZE)


@dataclass
class Network:
    """A network, the shapes of the inputs that a gradient is asked of, and what is held constant beside them."""

    module: nn.Module
    output: str  # where it stands in what the module returns: "logits", "vision_model_output.pooler_output", "0"
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"pixel_values": PICTURE})
    constants: Mapping[str, Any] = field(default_factory=dict)


Maker: TypeAlias = "Callable[[], Network]"


def network(
    model: str,
    output: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, tuple[int, ...]] | None = None,
    part: str | None = None,
    **constants: Any,
) -> Maker:
    """Return a maker of `transformers`' class *model*, configured by *settings*, or of a *part* of it."""

    def make() -> Network:
        kind = getattr(hf, model)
        module = kind(kind.config_class(**settings))
        whole = module if part is None else module.get_submodule(part)
        return Network(whole, output, inputs or {"pixel_values": PICTURE}, constants)

    return make


def classifier(family: str, **settings: Any) -> Maker:
    """Return a maker of *family*'s image classifier."""
    return network(f"{family}ForImageClassification", "logits", {"num_labels": 5, **settings})


class Wrapped(nn.Module):
    """A network as a function of its floating inputs alone, with one of its outputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.module, self.output, self.names = network.module, network.output.split("."), list(network.inputs)
        self.settings = {name: x for name, x in network.constants.items() if not isinstance(x, torch.Tensor)}
        self.constants = [name for name in network.constants if name not in self.settings]
        for name in self.constants:  # buffers, to change dtype with the weights
            self.register_buffer(name, network.constants[name])

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the output tensor."""
        constants = {name: getattr(self, name) for name in self.constants}
        found = self.module(**dict(zip(self.names, inputs, strict=True)), **constants, **self.settings)
        for name in self.output if not isinstance(found, torch.Tensor) else ():
            found = found[int(name)] if name.isdigit() else getattr(found, name)
        return found


def lively(network: nn.Module) -> nn.Module:
    """Give every weight a size at which signals neither die nor explode."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.data = 1 + 0.3 * noise.tanh()
        elif tensor.ndim < 2 and name.endswith("weight"):
            tensor.data = 1 + 0.1 * noise
        elif tensor.requires_grad:
            fan = max(tensor[0].numel(), 1) if tensor.ndim > 1 else 1
            tensor.data = noise * (0.1 if tensor.ndim < 2 else fan**-0.5)
    return network.eval()
