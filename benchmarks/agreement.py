"""Compare the maps with pytorch-grad-cam's on the same network: ``python benchmarks/agreement.py [--here]``.

It prints the table of docs/agreement.md: the correlation of the two maps, enlarged and rectified as the peer does it.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings

import environment

PEERS = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "gradcam-elementwise": "GradCAMElementWise",
    "layercam": "LayerCAM",
    "shapleycam": "ShapleyCAM",
    "fem": "FEM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "kpcacam": "KPCA_CAM",
    "fullgrad": "FullGrad",
}
TARGET = 3


def main() -> None:
    """Print a row for each method."""
    import cv2
    import numpy as np
    import pytorch_grad_cam
    import torch
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torch import nn

    import onnxcam
    from onnxcam.converters import from_pytorch

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    features = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU()), *(nn.Conv2d(16, 32, 3, 2), nn.ReLU())
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 64), nn.SiLU(), nn.Linear(64, 10))
    module, x = nn.Sequential(features, head).eval(), torch.randn(1, 3, 64, 64)
    environment.CACHE.mkdir(exist_ok=True)
    path = environment.CACHE / "agreement.onnx"
    from_pytorch(module, path, x, verify=False)
    print("| method | peer | correlation |\n|---|---|---:|")
    for method, name in PEERS.items():
        ours = onnxcam.Explainer(path, method=method, provider="cpu").attribute(x.numpy(), target=[TARGET])[0]
        twin = copy.deepcopy(module)
        cam = getattr(pytorch_grad_cam, name)(model=twin, target_layers=[twin[0][-1]])
        theirs = cam(input_tensor=x.clone(), targets=[ClassifierOutputTarget(TARGET)])[0]
        signs = (1, -1) if name in ("EigenCAM", "EigenGradCAM", "KPCA_CAM") else (1,)  # the peer's is arbitrary
        maps = [cv2.resize(np.maximum(sign * ours, 0), theirs.shape[::-1]) for sign in signs]
        found = max(np.corrcoef(one.ravel(), theirs.ravel())[0, 1] for one in maps)
        print(f"| `{method}` | {name} | {found:.6f} |", flush=True)


if __name__ == "__main__":
    if "--here" in sys.argv:
        main()
    else:
        sys.exit(subprocess.run([environment.prepare(), __file__, "--here"], check=False).returncode)
