"""Segment Anything's image encoder in PyTorch: for `benchmark encode` alone.

Its attention is as plain as it was published, all scores at once, or PyTorch's own fused one.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from torch.nn.functional import conv2d, gelu, layer_norm, pad, scaled_dot_product_attention

from jaxmeta.models.sam import Size


def encoder_of(size: Size, variables: Any, *, fused: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Make image [1, S, S, 3] -> embedding of our weights, on as many threads as there are
    cores."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    weights = jax.tree.map(lambda a: torch.from_numpy(np.array(a)), variables)

    def encode(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return encoded(size, weights, torch.from_numpy(image), fused).numpy()

    return encode


def encoded(size: Size, weights: dict, image, fused: bool):
    """Cut into patches, go through all blocks, and through the neck."""
    patches = weights["patch_embed"]["proj"]
    kernel = patches["kernel"].permute(3, 2, 0, 1)
    x = conv2d(image.permute(0, 3, 1, 2), kernel, patches["bias"], stride=size.patch)
    x = x.permute(0, 2, 3, 1) + weights["pos_embed"][None]
    for number in range(size.depth):
        window = 0 if number in size.whole else size.window
        x = block(weights[f"blocks_{number}"], x, size.heads, window, fused)
    x = norm(weights["neck_1"], x @ weights["neck_0"]["kernel"]).permute(0, 3, 1, 2)
    x = conv2d(x, weights["neck_2"]["kernel"].permute(3, 2, 0, 1), padding=1)
    return norm(weights["neck_3"], x.permute(0, 2, 3, 1))


def block(weights: dict, x, heads: int, window: int, fused: bool):
    """Attend, in windows or to everything, then think."""
    seen, (n, height, width, channels) = norm(weights["norm1"], x), x.shape
    if window:
        high, wide = -(-height // window), -(-width // window)
        seen = pad(seen, (0, 0, 0, wide * window - width, 0, high * window - height))
        seen = seen.view(n, high, window, wide, window, channels).permute(0, 1, 3, 2, 4, 5)
        seen = attention(weights["attn"], seen.reshape(-1, window, window, channels), heads, fused)
        seen = seen.view(n, high, wide, window, window, channels).permute(0, 1, 3, 2, 4, 5)
        seen = seen.reshape(n, high * window, wide * window, channels)[:, :height, :width]
    else:
        seen = attention(weights["attn"], seen, heads, fused)
    x = x + seen
    inner = gelu(affine(weights["mlp"]["lin1"], norm(weights["norm2"], x)))
    return x + affine(weights["mlp"]["lin2"], inner)


def attention(weights: dict, x, heads: int, fused: bool):
    """Attend to all tokens of an image or window, with relative positions."""
    n, height, width, channels = x.shape
    qkv = affine(weights["qkv"], x).view(n, height * width, 3, heads, channels // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, n * heads, height * width, -1).unbind(0)
    placed = q.view(n * heads, height, width, -1)
    rows, columns = between(weights["rel_pos_h"], height), between(weights["rel_pos_w"], width)
    rows = torch.einsum("bhwc,hkc->bhwk", placed, rows)[..., None]
    columns = torch.einsum("bhwc,wkc->bhwk", placed, columns)[..., None, :]
    if fused:
        tilt = (rows + columns).reshape(n, heads, height * width, height * width)
        q, k, v = (each.view(n, heads, height * width, -1) for each in (q, k, v))
        out = scaled_dot_product_attention(q, k, v, attn_mask=tilt)
    else:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(1, 2)
        scores = scores.view(-1, height, width, height, width) + rows + columns
        out = scores.view(-1, height * width, height * width).softmax(-1) @ v
    out = out.view(n, heads, height, width, -1).permute(0, 2, 3, 1, 4).reshape(x.shape)
    return affine(weights["proj"], out)


def between(table, side: int):
    """Look up the entry of every pair of places on a side."""
    places = np.arange(side)
    return table[places[:, None] - places + side - 1]


def norm(weights: dict, x):
    """Normalize over channels."""
    return layer_norm(x, x.shape[-1:], weights["scale"], weights["bias"], 1e-6)


def affine(weights: dict, x):
    """Map the last axis."""
    return x @ weights["kernel"] + weights["bias"]
