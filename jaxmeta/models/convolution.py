"""The one convolution of the adapted path: odd kernel, stride 1, same size, as one matrix product.

Inside a scan, under `vmap` over per-task kernels and differentiated twice, the library convolutions
of XLA fall back to scalar loops on a CPU and to grouped convolutions elsewhere: 10 to 20 times too
slow. A matrix product has no such trap. Everything here is plain autodiff: forward and reverse mode
to any order, `vmap`, `shard_map` and automatic sharding all work.

The W-shifts of the image are laid side by side, [.., kw C]; one product with the kernel gives all
kh O row results at once; the H-shifts of these are added. Against im2col this moves kh times less
memory, and the product is wide enough to run at the speed of a large matrix multiplication.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def convolve(
    image: Float[Array, "N H W C"], kernel: Float[Array, "height width C O"]
) -> Float[Array, "N H W O"]:
    """Correlate with zero padding: y[h, w] = sum_ij image[h+i-kh//2, w+j-kw//2] @ kernel[i, j].

    Raises ValueError for an even kernel, which has no centre.
    """
    n, height, width, channels = image.shape
    kh, kw, _, out = kernel.shape
    if kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(f"a kernel needs odd sides to have a centre, this one is {kh} x {kw}")
    padded = jnp.pad(image, ((0, 0), (kh // 2,) * 2, (kw // 2,) * 2, (0, 0)))
    shifts = jnp.concatenate([padded[:, :, j : j + width] for j in range(kw)], axis=-1)
    matrix = jnp.transpose(kernel, (1, 2, 0, 3)).reshape(kw * channels, kh * out)
    rows = (shifts.reshape(-1, kw * channels) @ matrix).reshape(n, -1, width, kh, out)
    return sum(rows[:, i : i + height, :, i] for i in range(kh))
