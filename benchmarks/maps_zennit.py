"""The maps of zennit, by its rules for the composites of `lrp`, `lrp-gamma` and `lrp-epsilon`, as in `maps`."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import torch
from maps import Case, Row
from torch import nn

__all__ = ["PEERS"]


def zennit(method: str, name: str) -> Row:
    """Return the row of the rule *name* at convolutions, flat at the first one except for ε; ε at dense layers."""

    def theirs(case: Case) -> np.ndarray:
        sys.modules.setdefault("zennit.torchvision", ModuleType("zennit.torchvision"))  # tied to versions of it
        from zennit import rules
        from zennit.composites import SpecialFirstLayerMapComposite
        from zennit.types import Activation, AvgPool, Convolution

        at_convolutions = {"ZPlus": rules.ZPlus(), "Gamma": rules.Gamma(0.25), "Epsilon": rules.Epsilon()}[name]
        layers = [(Activation, rules.Pass()), (AvgPool, rules.Norm()), (Convolution, at_convolutions)]
        first = [] if name == "Epsilon" else [(Convolution, rules.Flat())]
        x = case.x.clone().requires_grad_()
        composite = SpecialFirstLayerMapComposite([*layers, (nn.Linear, rules.Epsilon())], first)
        with composite.context(case.twin()) as changed:
            y = changed(x)
            chosen = torch.zeros_like(y)
            chosen[0, case.target] = y[0, case.target].detach()
            (r,) = torch.autograd.grad(y, x, chosen)
        return r[0].numpy()

    return Row(method, name, theirs)


PEERS: dict[str, list[Row]] = {
    "zennit": [zennit("lrp", "ZPlus"), zennit("lrp-gamma", "Gamma"), zennit("lrp-epsilon", "Epsilon")],
}
"""Who is compared with whom."""
