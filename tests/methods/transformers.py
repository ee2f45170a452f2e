"""A small transformer, and slow replicas of the methods for transformers, written from their papers."""

from __future__ import annotations

from tests.methods.layer_relevance import as_matrix, share, split
from tests.optional import torch

nn = torch.nn


def legrad(net, x, target, first=0):
    """Each block with its probabilities as a leaf; its score is that of the mean of its tokens."""
    z, out = net.embedded(x).detach(), torch.zeros(len(x), 3, 3)
    for number, block in enumerate(net.blocks):
        a = net.block(block, z)[1].detach().requires_grad_()
        after, _ = net.block(block, z, a)
        scores = net.linear(net.norm(after.mean(1)))
        (g,) = torch.autograd.grad(scores[range(len(x)), target].sum(), a)
        columns = g.clamp(min=0).reshape(len(x), -1, *g.shape[-2:]).mean((1, 2))
        if number >= first:
            out += columns[:, int(net.class_token) :].reshape(-1, 3, 3) / (len(net.blocks) - first)
        z = after.detach()
    return out


def linear(x, w, b, r, how="epsilon"):
    """`split` of each row of *x*."""
    return torch.stack([split(row, w, b, each, how) for row, each in zip(x, r, strict=True)])


def normalised(norm, z, r):
    """A layer normalisation as a matrix, diag(scale) (1 − 1/n) / σ, row by row: σ is a constant."""
    rows, n = [], z.shape[-1]
    for row, each in zip(z, r, strict=True):
        centre = torch.eye(n, dtype=z.dtype) - 1 / n
        matrix = norm.weight[:, None] * centre / (row.var(correction=0) + norm.eps).sqrt()
        rows.append(split(row, matrix, norm.bias, each, ""))
    return torch.stack(rows)


def factors(a, b, r):
    """The uniform rule of y = a b: R_ij a_ik b_kj / y_ij, half for a and half for b."""
    shares = 0.5 * a[:, :, None] * b[None] * share(r, a @ b)[:, None]
    return shares.sum(2), shares.sum(0)


def attnlrp_block(net, block, z):
    """A block's output, and the function from its relevance to that of *z*: equations 7, 9, 13 and 15, in float64."""
    t, width = z.shape
    normed = block["norm1"](z)
    joint = block["qkv"](normed)
    q, k, v = joint.reshape(t, 3, net.heads, -1).permute(1, 2, 0, 3)
    scores = q @ k.transpose(1, 2) / 2
    a = scores.softmax(-1)
    o = (a @ v).transpose(0, 1).reshape(t, width)
    attended = block["out"](o)
    middle = z + attended
    normed2, (up, gelu, down) = block["norm2"](middle), block["mlp"]
    raised = up(normed2)
    after = down(gelu(raised))

    def back(r):
        r_after = after * share(r, middle + after)
        r_raised = linear(gelu(raised), down.weight, down.bias, r_after)  # an activation keeps relevance
        r_middle = middle * share(r, middle + after)
        r_middle = r_middle + normalised(block["norm2"], middle, linear(normed2, up.weight, up.bias, r_raised))
        r_o = linear(o, block["out"].weight, block["out"].bias, attended * share(r_middle, middle))
        parts = []
        for head, r_head in enumerate(r_o.reshape(t, net.heads, -1).transpose(0, 1)):
            r_a, r_v = factors(a[head], v[head], r_head)
            r_scores = scores[head] * (r_a - a[head] * r_a.sum(1, keepdim=True))
            r_q, r_k = factors(q[head], k[head].T, r_scores)  # the constant 1/2 takes nothing
            parts.append(torch.stack([r_q, r_k.T, r_v]))
        r_joint = torch.stack(parts, 1).permute(2, 0, 1, 3).reshape(t, -1)
        r_z = normalised(block["norm1"], z, linear(normed, block["qkv"].weight, block["qkv"].bias, r_joint))
        return z * share(r_middle, middle) + r_z

    return middle + after, back


@torch.no_grad()
def attnlrp_of_transformer(net, x, target, first):
    """Relevance, layer after layer and image after image; *first* is the rule of the patches."""
    net, maps = net.double(), []
    for n, c in enumerate(target):
        image = x[n].double()
        z, backs = net.embedded(image[None])[0], []
        tokens = z
        for block in net.blocks:
            z, back = attnlrp_block(net, block, z)
            backs.append(back)
        normed = net.norm(z)
        pooled = normed[0] if net.class_token else normed.mean(0)
        r = torch.zeros(5, dtype=z.dtype)
        r[c] = (net.linear.weight @ pooled + net.linear.bias)[c]
        r = split(pooled, net.linear.weight, net.linear.bias, r, "")
        spread = [r[None], 0 * normed[1:]] if net.class_token else [normed / len(normed) * share(r, pooled)]
        r = torch.cat(spread)
        r = normalised(net.norm, z, r)
        for back in reversed(backs):
            r = back(r)
        cells = int(net.class_token)
        patches = net.patches(image[None])[0].flatten(1).T
        r = (patches * share(r[cells:], tokens[cells:])).T.reshape(-1)  # the rest is the places' own
        w, b = as_matrix(net.patches, image.shape)
        maps.append(split(image.flatten(), w, b, r, first).reshape(image.shape).sum(0))
    net.float()
    return torch.stack(maps).float().clamp(min=0)


def attention_of_blocks(net, x, target):
    """Each block's probabilities [N, heads, T, T], and their gradients."""
    z, probabilities = net.embedded(x), []
    for block in net.blocks:
        a = net.block(block, z)[1]
        probabilities.append(a)
        z, _ = net.block(block, z, a)
    gradients = torch.autograd.grad(net.head(z)[range(len(x)), target].sum(), probabilities)
    return [a.detach() for a in probabilities], gradients


def read_row(net, matrix):
    """The class token's row, or the mean of all rows, at the nine cells."""
    row = matrix[:, 0, 1:] if net.class_token else matrix.mean(1)
    return row.reshape(-1, 3, 3)


def chefer(net, x, target):
    """Equations 5 and 6, matrix by matrix."""
    relevance = torch.eye(9 + net.class_token).expand(len(x), -1, -1)
    for a, g in zip(*attention_of_blocks(net, x, target), strict=True):
        relevance = relevance + (a * g).clamp(min=0).mean(1) @ relevance
    return read_row(net, relevance)


def rollout(net, x, target):
    """Ã = W V in the paper's words: 0.5 A + 0.5 1, with rows that sum to 1; products from the first block on."""
    flow = torch.eye(9 + net.class_token).expand(len(x), -1, -1)
    for a in attention_of_blocks(net, x, target)[0]:
        mixed = 0.5 * a.mean(1) + 0.5 * torch.eye(a.shape[-1])
        flow = mixed / mixed.sum(-1, keepdim=True) @ flow
    return read_row(net, flow)


def grad_eclip(net, x, target, blocks=1):
    """Query by query and key by key: λ Σ_c ∂y/∂o_c v_c, with all heads of o, q, k and v in one vector."""
    z, steps, (n, t) = net.embedded(x), [], (len(x), 9 + net.class_token)
    for block in net.blocks:
        width = z.shape[-1]
        q, k, v = block["qkv"](block["norm1"](z)).chunk(3, -1)
        heads = v.reshape(n, t, net.heads, -1).transpose(1, 2)
        o = (net.block(block, z)[1] @ heads).transpose(1, 2).reshape(n, t, width)
        after = z + block["out"](o)
        z = after + block["mlp"](block["norm2"](after))
        steps.append((q, k, v, o))
    gradients = torch.autograd.grad(net.head(z)[range(n), target].sum(), [step[3] for step in steps])
    cells, out = range(t - 9, t), torch.zeros(n, 9)
    for (q, k, v, _), g in list(zip(steps, gradients, strict=True))[-blocks:]:
        for image in range(n):
            row = 0
            for i in [0] if net.class_token else range(t):
                cosine = torch.stack([nn.functional.cosine_similarity(q[image, i], k[image, j], 0) for j in cells])
                weight = (cosine - cosine.min()) / (cosine.max() - cosine.min())
                row = row + weight * torch.stack([g[image, i] @ v[image, j] for j in cells])
            out[image] += row.detach().clamp(min=0)
    return out.reshape(n, 3, 3)
