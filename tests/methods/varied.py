"""The map of each method on `tests.networks.varied_model`, in float64, step by step from its formula.

Position by position, in reading order: x is the image, A the layer, G the gradient of class 0 there, K of class 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.methods.by_hand import BY_HAND, SPREAD, scaled, sobol

X = np.array([1.0, -2, 3, -4])
A = np.array([[1.0, 0, 3, 0], [0, 2, 0, 4]])  # ReLU(x), ReLU(-x)
G = np.array([[2, -1, -0.5, 1.5], [1, -2, 0.5, 2]])
K = np.array([[0, 1, 1, -1], [0.5, 0, 1, -0.5]])
SHARES, OTHER = (G * A).sum(0), (K * A).sum(0)  # of each position in the scores: (2, -4, -1½, 8), (0, 0, 3, -2)
Y = SHARES.sum(), OTHER.sum()  # 4½, 1


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def weighted(weights: np.ndarray) -> np.ndarray:
    """Σ_k w_k A_k."""
    return weights @ A


GRADCAM = relu(weighted(G.mean(1)))  # the mean gradients are ½ and ⅜; the largest would be 2 and 2

# α = G² / (2 G² + ΣA G³) = 1 / (2 + ΣA G) at each position, ΣA = (4, 6); w = Σ α ReLU(G)
BELOW = 2 + A.sum(1)[:, None] * G  # 0 at G = -½ of channel 1, where ReLU(G) is 0
ALPHA = np.divide(1, BELOW, out=np.zeros_like(BELOW), where=BELOW != 0)
GRADCAM_PLUS_PLUS = relu(weighted((ALPHA * relu(G)).sum(1)))

XGRADCAM = weighted((A * G).sum(1) / A.sum(1))  # w = (⅛, ⅔)

PRODUCTS = (A * G).T  # [positions, channels]
CENTRED = PRODUCTS - PRODUCTS.mean(0)
EIGENGRADCAM = CENTRED @ np.linalg.eigh(CENTRED.T @ CENTRED).eigenvectors[:, -1]
EIGENGRADCAM *= np.sign(EIGENGRADCAM @ PRODUCTS.sum(1))

GRADIENT = np.where(X > 0, G[0], -G[1])  # one channel is alive at each pixel
GUIDED = np.where(X > 0, relu(G[0]), -relu(G[1]))
DECONVNET = relu(G[0]) - relu(G[1])  # the sign of x is not asked

# The masks are A_1 / 3 and A_2 / 4: with them the pixels are (⅓, 0, 3, 0) and (0, -1, 0, -4)
MASKED = np.array([G[0] @ [1 / 3, 0, 3, 0], G[1] @ [0, 1, 0, 4]])  # -5/6, 6
SCORECAM = weighted(np.exp(MASKED) / np.exp(MASKED).sum())
ISCAM = weighted(np.exp(MASKED / 4) / np.exp(MASKED / 4).sum())  # y is linear in the share of the mask: 0 and ½

KERNEL = np.array([[4, 2, 2, 1], [2, 4, 1, 2], [2, 1, 4, 2], [1, 2, 2, 4]]) / 16  # 3 × 3 Gaussian around each cell
RECIPRO = KERNEL @ SHARES

ABLATED = Y[0] - (G * A).sum(1)  # the score without channel 1, without channel 2: 4, ½
ABLATION = relu(weighted((Y[0] - ABLATED) / Y[0]))

P = 1 / (1 + np.exp(Y[1] - Y[0]))

# Ridge regression with α = 1 on the 30 masks of `tests.methods.by_hand`, of p with the pixels z there
Z = np.random.default_rng(0).integers(0, 2, (30, 4))
Z[0] = 1
NEAR = np.exp(-(((1 - np.sqrt(Z.sum(1) / 4)) / 0.25) ** 2) / 2)
PROBABILITIES = 1 / (1 + np.exp(Z @ (OTHER - SHARES)))
ZC, PC = Z - np.average(Z, 0, NEAR), PROBABILITIES - np.average(PROBABILITIES, 0, NEAR)
LIME = np.linalg.solve((ZC.T * NEAR) @ ZC + np.eye(4), (ZC.T * NEAR) @ PC)

VARIED: dict[str, Any] = {
    "gradcam": GRADCAM,
    "gradcam++": GRADCAM_PLUS_PLUS,
    "xgradcam": XGRADCAM,
    "hirescam": SHARES,
    "gradcam-elementwise": relu(A * G).sum(0),
    "layercam": (relu(G) * A).sum(0),
    "shapleycam": GRADCAM,  # the head is linear: H = 0
    "finercam": SHARES - 0.6 * OTHER,  # HiResCAM of y_0 - 0.6 y_1
    "refinecam": scaled(GRADCAM_PLUS_PLUS),  # one stage
    "refined-layercam": scaled(SPREAD @ (relu(G) * A).sum(0).reshape(2, 2) @ SPREAD).ravel(),  # one stage
    "eigengradcam": EIGENGRADCAM,
    "fullgrad": scaled(abs(X * GRADIENT)),  # no biases
    "gradient": GRADIENT,
    "guided-backprop": GUIDED,
    "deconvnet": DECONVNET,
    "guided-gradcam": GUIDED * GRADCAM,
    "guided-gradcam++": GUIDED * GRADCAM_PLUS_PLUS,
    "gradient-x-input": X * GRADIENT,
    **dict.fromkeys(("lrp", "lrp-epsilon", "lrp-gamma"), SHARES),  # no biases, one pixel behind each cell
    "attnlrp": relu(SHARES),
    "excitation-backprop": (relu(G) * A).sum(0) / (relu(G) * A).sum(),  # positive weights alone
    "smoothgrad": GRADIENT,  # the noise changes no sign
    "vargrad": np.zeros(4),
    "smoothgradcam++": GRADCAM_PLUS_PLUS,
    # y is linear on the way from 0, and the sum of what its pixels add
    **dict.fromkeys(("integrated-gradients", "expected-gradients", "deeplift", "occlusion", "kernelshap"), SHARES),
    "dff": A[1] / 4,  # alone the channels score ½ and 4
    "guided-ig": 0.75 * SHARES,  # at 0, where the first of 4 steps starts, no channel is alive
    "idgi": GRADIENT**2 / (GRADIENT**2).sum() * 0.75 * Y[0],
    # one segment: from −4, where y = 6, and from 3, where y = 6
    "xrai": np.full(4, (Y[0] - 6) / 4),
    "sobol": sobol(SHARES),
    "rise": np.full(4, P),  # every mask keeps all
    "scorecam": SCORECAM,
    "sscam": SCORECAM,  # so little noise that it is Score-CAM
    "iscam": ISCAM,
    "recipro-cam": RECIPRO - RECIPRO.min(),
    "ablationcam": ABLATION,
    "lime": LIME,
    **{name: np.ravel(BY_HAND[name]) for name in ("fem", "eigencam", "kpcacam")},  # they ask for no gradient
}
