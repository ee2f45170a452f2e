"""The map of each method, computed by hand on `tests.networks.hand_model`."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import qmc

from tests.networks import HAND_X

# X of ∂ A: 64 XᵀX = [[96, 48], [48, 44]], 4 times [[24, 12], [12, 11]]: λ = (35 + √745) / 2, v ~ (12, λ - 24).
V = np.array([12, (35 + np.sqrt(745)) / 2 - 24])
EIGENGRAD = np.array([[0, 3], [-4, -1], [8, 3], [-4, -5]]) / 8 @ (V / np.linalg.norm(V))
# X Xᵀ / 2 = [[9, -3, 9, -15], [-3, 5, -11, 9], [9, -11, 25, -23], [-15, 9, -23, 29]] / 8, its tanh(· + 1) centred.
KERNEL = np.tanh(np.array([[9, -3, 9, -15], [-3, 5, -11, 9], [9, -11, 25, -23], [-15, 9, -23, 29]]) / 8 + 1)
KERNEL = KERNEL - KERNEL.mean(0) - KERNEL.mean(1)[:, None] + KERNEL.mean()
KERNEL = np.linalg.eigh(KERNEL).eigenvectors[:, -1] * np.sqrt(np.linalg.eigvalsh(KERNEL)[-1])
KERNEL *= np.sign(KERNEL @ [1, 2, 3, 4])
# A Gaussian with σ = 1 from −3 to 3: its weights at 0 and 1 spread two cells, as a matrix for either axis.
SPREAD = np.exp(-np.array([[0, 1], [1, 0]]) / 2) / np.exp(-(np.arange(-3, 4) ** 2) / 2).sum()


def scaled(x: np.ndarray) -> np.ndarray:
    """To [0, 1]."""
    return (x - x.min()) / (x.max() - x.min())


# Of hand_transformer: A_ij = softmax_j(x_i x_j), and the score is the mean of four tokens times 2.
TOKENS = np.array([1, -2, 3, -4])
ATTENTION = np.exp(np.outer(TOKENS, TOKENS))
ATTENTION /= ATTENTION.sum(1, keepdims=True)
P_TOP = 1 / (1 + np.exp(4))
ALPHA = 1 / (1 + np.exp(-35 / 12))
BETA = 1 / (1 + np.exp(-35 / 48))
# With pixels z there, y = (½, -½, 1½, -1) z and (0, 1½, 0, 3) z; p = 1 / (1 + exp(y_2 - y_1)). Ridge regression, α = 1.
Z = np.random.default_rng(0).integers(0, 2, (30, 4))
Z[0] = 1
PI = np.exp(-(((1 - np.sqrt(Z.sum(1) / 4)) / 0.25) ** 2) / 2)
P = 1 / (1 + np.exp(Z @ [-0.5, 2, -1.5, 4]))
ZC, PC = Z - np.average(Z, 0, PI), P - np.average(P, 0, PI)
LIME = np.linalg.solve((ZC.T * PI) @ ZC + np.eye(4), (ZC.T * PI) @ PC)
# With masks m there, y = Σ m_i s_i: two masks that differ in cell i differ by s_i (a_i - b_i).
DESIGNS = np.split(qmc.Sobol(8, scramble=False).random(32), 2, axis=1)


def sobol(shares: np.ndarray) -> np.ndarray:
    """The total index of each cell of a linear y, by Jansen's estimator."""
    a, b = DESIGNS
    return shares**2 * ((a - b) ** 2).sum(0) / (2 * len(a) * (a @ shares).var(ddof=1))


# Class 0: ∂ = (2, -1) / 4 at each of the 4 positions; Σ A_1 = 4, Σ A_2 = 6.
BY_HAND: dict[str, Any] = {
    "cam": [[2, -2], [6, -4]],  # 2 A_1 - A_2
    "gradcam": [[0.5, 0], [1.5, 0]],  # ReLU(½ A_1 - ¼ A_2)
    # α_1 = ¼ / (½ + ⅛ · 4) = ¼, w_1 = 4 · ¼ · ½ = ½; ReLU(∂_2) = 0
    "gradcam++": [[0.5, 0], [1.5, 0]],
    "xgradcam": [[0.5, -0.5], [1.5, -1]],  # ∂ does not vary: ½ A_1 - ¼ A_2
    "hirescam": [[0.5, -0.5], [1.5, -1]],
    "gradcam-elementwise": [[0.5, 0], [1.5, 0]],  # channel 2 speaks against the class
    "layercam": [[0.5, 0], [1.5, 0]],
    "shapleycam": [[0.5, 0], [1.5, 0]],  # the head is linear: H = 0
    "fem": [[0, 0], [0, 0]],  # no position of 4 is 2 σ above the mean of all
    # X = [[0, -3], [-2, 1], [4, -3], [-2, 5]] / 2: XᵀX = [[6, -6], [-6, 11]], λ = 15, v = (-2, 3) / √13
    "finercam": [[0.5, -1.4], [1.5, -2.8]],  # y_0 − 0.6 y_1: ∂ = (½, −¼ − 0.6 · ¾)
    "refinecam": [[1 / 3, 0], [1, 0]],  # one stage: gradcam++, scaled to [0, 1]
    "refined-layercam": scaled(SPREAD @ [[0.5, 0], [1.5, 0]] @ SPREAD),  # one stage: layercam, blurred by one cell
    "legrad": [[0.5, 0], [1.5, 0]],  # of hand_transformer: y = 2 mean_i (x_i + Σ_j A_ij x_j), ∂y/∂A_ij = ½ x_j
    "chefer": (1 + np.maximum(TOKENS / 2 * ATTENTION, 0).sum(0)).reshape(2, 2) / 4,  # R = 1 + E, its mean row
    "rollout": (1 + ATTENTION.sum(0)).reshape(2, 2) / 8,
    "grad-eclip": [[1, 0], [3, 0]],  # of Σ_i λ_ij ½ x_j; the cosine is 1 for two tokens of one sign: λ = 1, else 0
    "eigencam": np.array([[-9, 7], [-17, 19]]) / np.sqrt(52),
    "eigengradcam": EIGENGRAD.reshape(2, 2),
    "kpcacam": KERNEL.reshape(2, 2),
    "fullgrad": [[0, 0], [1, 0.5]],  # no biases: |x ∂y/∂x| = (½, ½, 1½, 1), from its least to its largest
    "gradient": [[0.5, 0.25], [0.5, 0.25]],  # ½ where x > 0, (-1)(-¼) where x < 0
    "guided-backprop": [[0.5, 0], [0.5, 0]],  # ∂_2 < 0 is stopped
    "deconvnet": [[0.5, 0.5], [0.5, 0.5]],  # … and the sign of x is not asked
    "guided-gradcam": [[0.25, 0], [0.75, 0]],
    # R of the two means, 1 and 1½: 2 and -1½; of A_1: 2 A_1 / 4, of A_2: -1½ A_2 / 6; each has one pixel behind it
    **{name: [[0.5, -0.5], [1.5, -1]] for name in ("lrp", "lrp-epsilon", "lrp-gamma")},
    "attnlrp": [[0.5, 0], [1.5, 0]],  # their positive part; of attention: tests/methods/replicas.py
    "excitation-backprop": [[0.25, 0], [0.75, 0]],  # A_1 alone excites the class: A_1 / 4
    "gradient-x-input": [[0.5, -0.5], [1.5, -1]],
    "guided-gradcam++": [[0.25, 0], [0.75, 0]],
    # Of several passes, with the settings below.
    "smoothgrad": [[0.5, 0.25], [0.5, 0.25]],  # the noise changes no sign
    "vargrad": [[0, 0], [0, 0]],  # … so that the gradient does not vary
    "integrated-gradients": [[0.5, -0.5], [1.5, -1]],  # linear on the way from 0: x ∂; Σ = ½ = y(x) − y(0)
    "smoothgradcam++": [[0.5, 0], [1.5, 0]],  # as gradcam++
    "occlusion": [[0.5, -0.5], [1.5, -1]],  # pixel by pixel: y = Σ x ∂
    "rise": [[P_TOP, P_TOP], [P_TOP, P_TOP]],  # every mask keeps all; p = softmax(½, 4½)
    # H_1 = A_1 / 3 keeps (⅓, 3): y = 5/3; H_2 = A_2 / 4 keeps (−1, −4): y = −5/4; α_1 = 1 / (1 + exp(−35/12))
    "scorecam": [[ALPHA, 2 * (1 - ALPHA)], [3 * ALPHA, 4 * (1 - ALPHA)]],
    "sscam": [[ALPHA, 2 * (1 - ALPHA)], [3 * ALPHA, 4 * (1 - ALPHA)]],  # so little noise that it is Score-CAM
    # y is linear in the share of a mask; the shares are 0 and ½, their mean ¼: y = 5/12 and −5/16
    "iscam": [[BETA, 2 * (1 - BETA)], [3 * BETA, 4 * (1 - BETA)]],
    # m = (4, 2, 2, 1) / 16 and so on keep (5, 4), (2½, 8), (7, 5), (3½, 10) eighths of Σ A: y = (6, −3, 9, −3) / 32
    "recipro-cam": [[9 / 32, 0], [12 / 32, 0]],
    "ablationcam": [[4, 0], [12, 0]],  # y = ½, y_1 = −3/2, y_2 = 2: w = (4, −3)
    "expected-gradients": [[0.5, -0.5], [1.5, -1]],  # linear on the way from its one baseline, 0
    "deeplift": [[0.5, -0.5], [1.5, -1]],  # y = Σ x ∂ from 0
    # at the baseline, 0, no channel is alive: the first of 4 steps has no gradient, the others have ∂
    "guided-ig": [[0.375, -0.375], [1.125, -0.75]],
    # ∂² = (4, 1, 4, 1) / 16 of 10 / 16, and three quarters of y
    "idgi": [[0.15, 0.0375], [0.15, 0.0375]],
    # two concepts, one channel each: alone they score 2 and −3/2
    "dff": [[1 / 3, 0], [1, 0]],
    # one segment; Σ IG = y(x) − y(b) = ½ + 4 from b = −4, ½ − 6 from b = 3: the mean is −½
    "xrai": [[-1 / 8, -1 / 8], [-1 / 8, -1 / 8]],
    "sobol": sobol(np.array([0.5, -0.5, 1.5, -1])).reshape(2, 2),
    "kernelshap": [[0.5, -0.5], [1.5, -1]],  # each pixel is a superpixel, and y their sum
    "lime": LIME.reshape(2, 2),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "finercam": {"base": "hirescam"},
    "smoothgrad": {"samples": 4, "noise": 1e-3},
    "vargrad": {"samples": 4, "noise": 1e-3},
    "smoothgradcam++": {"samples": 4, "noise": 1e-3},
    "sscam": {"samples": 2, "noise": 1e-7},
    "iscam": {"samples": 2},
    "occlusion": {"patch": 0.5, "stride": 0.5},
    "rise": {"samples": 3, "keep": 1},
    "expected-gradients": {"baselines": np.zeros((1, *HAND_X.shape[1:]), np.float32), "samples": 3},
    "dff": {"concepts": 2},
    "guided-ig": {"steps": 4},
    "idgi": {"steps": 4},
    "xrai": {"steps": 35, "side": 48},
    "sobol": {"cells": 2},
    "kernelshap": {"segments": 4},
    "lime": {"segments": 4, "samples": 30},
}
