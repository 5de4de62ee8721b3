"""The one convolution of the adapted path: stride 1, zeros around, any derivative at full speed.

Inside a scan, under `vmap` over per-task kernels and differentiated twice, the library convolution
of XLA falls back to scalar loops on a CPU and to grouped convolutions elsewhere: 10 to 20 times too
slow. So a convolution and the gradient of its kernel are two bilinear primitives here, each with
the other as its derivative. With x * k the correlation, and x (*) y its transpose that gives a
kernel,

    d(x * k):    x <- dy * flip(k)    k <- x (*) dy
    d(x (*) y):  x <- y * flip(dk)    y <- x * dk

and so a derivative of any order is again one of the two, in the form that is fastest where it runs.
Forward and reverse mode, `vmap` and `shard_map` all work. What it costs: automatic sharding does
not see through a primitive (every device would do all tasks), nor does `check_vma`; `over_tasks`
needs neither. On 2 cores it made a second-order step of a small U-Net 1.4 times as fast.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float


def convolve(
    image: Float[Array, "N H W C"], kernel: Float[Array, "height width C O"]
) -> Float[Array, "N H W O"]:
    """Correlate with zero padding: y[h, w] = sum_ij image[h+i-kh//2, w+j-kw//2] @ kernel[i, j].

    Raises ValueError for an even kernel, which has no center.
    """
    kh, kw = kernel.shape[:2]
    if kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(f"a kernel needs odd sides to have a center, this one is {kh} x {kw}")
    return written.bind(convolution.bind(written.bind(image), kernel, padding=(kh // 2, kw // 2)))


def convolve_upsampled(
    image: Float[Array, "N H W C"], kernel: Float[Array, "3 3 C O"]
) -> Float[Array, "N 2*H 2*W O"]:
    """Convolve what the image is with every pixel repeated twice each way, without making it.

    Two of the three taps on a line always see the same pixel: an even place sees (k0, k1 + k2), an
    odd one (k0 + k1, k2). So four kernels of 2x2 taps on the small image do what one of 3x3 does on
    the large one, with 16 products for 36. Between each two small pixels they give the odd place of
    the first and the even place of the second, and beyond the border one place too many.
    """
    n, height, width, _ = image.shape
    for axis in (1, 0):
        first, middle, last = jnp.split(kernel, 3, axis)
        odd, even = (first + middle, last), (first, middle + last)
        kernel = jnp.concatenate([jnp.concatenate(taps, axis) for taps in (odd, even)], -1)
    four = written.bind(convolution.bind(written.bind(image), kernel, padding=(1, 1)))
    four = four.reshape(n, height + 1, width + 1, 2, 2, -1).swapaxes(2, 3)
    return four.reshape(n, 2 * height + 2, 2 * width + 2, -1)[:, 1:-1, 1:-1]


# The two primitives. Leading axes, if any, are tasks: every one has its own image and kernel.

convolution = Primitive("convolution")
kernel_gradient = Primitive("kernel_gradient")


@convolution.def_abstract_eval
def _(image, kernel, *, padding):
    sides = zip(image.shape[-3:-1], kernel.shape[-4:-2], padding)
    sides = [side + 2 * p - k + 1 for side, k, p in sides]
    return ShapedArray((*image.shape[:-3], *sides, kernel.shape[-1]), image.dtype)


@kernel_gradient.def_abstract_eval
def _(image, other, *, padding):
    taps = taps_between(image, other, padding)
    return ShapedArray((*image.shape[:-4], *taps, image.shape[-1], other.shape[-1]), image.dtype)


def taps_between(image, other, padding):
    """Give the sides of the kernel that makes `other` of `image`."""
    sides = zip(image.shape[-3:-1], other.shape[-3:-1], padding)
    return tuple(side - made + 2 * p + 1 for side, made, p in sides)


def convolved_back(other, kernel, padding):
    """Apply the transpose of the convolution with `kernel`: turned by 180 degrees, channels
    swapped."""
    turned = jnp.swapaxes(kernel[..., ::-1, ::-1, :, :], -1, -2)
    beyond = tuple(k - 1 - p for k, p in zip(kernel.shape[-4:-2], padding))
    return convolution.bind(other, turned, padding=beyond)


ad.defbilinear(
    convolution,
    lambda ct, image, kernel, padding: convolved_back(ct, kernel, padding),
    lambda ct, image, kernel, padding: kernel_gradient.bind(image, ct, padding=padding),
)
ad.defbilinear(
    kernel_gradient,
    lambda ct, image, other, padding: convolved_back(other, ct, padding),
    lambda ct, image, other, padding: convolution.bind(image, ct, padding=padding),
)


def batched(primitive, values, axes, **options):
    """Put the mapped axis first in both operands; one that has none is repeated."""
    size = next(v.shape[i] for v, i in zip(values, axes) if i is not None)
    values = [
        jnp.broadcast_to(v, (size, *v.shape)) if i is None else jnp.moveaxis(v, i, 0)
        for v, i in zip(values, axes)
    ]
    return primitive.bind(*values, **options), 0


# A third, the identity: images and what comes back for results pass it, and are written to memory.
# XLA would else compute the chain of normalization and activation anew in each thing that reads it.
# It computes no division twice, so on a CPU this is one, by a 1 that it cannot know (infinity
# becomes NaN).

written = Primitive("written")
written.def_abstract_eval(lambda image: image)
written.def_impl(lambda image: image)
ad.deflinear2(written, lambda ct, image: [written.bind(ct)])
batching.defvectorized(written)
mlir.register_lowering(written, lambda context, image: [image])
mlir.register_lowering(
    written, mlir.lower_fun(lambda image: image / (1 + 0 * image), multiple_results=False), "cpu"
)


# Their forms. Everywhere: one matrix product, or a batch of them with an axis for tasks.


def as_product(image, kernel, *, padding):
    """Lay W-shifts side by side, [.., kw C]; one product gives all kh rows of taps; add H-shifts.

    Against im2col this moves kh times less memory.
    """
    kh, kw, channels, out = kernel.shape[-4:]
    columns = shifted(bordered(image, padding), kw)
    n, tall, wide, _ = columns.shape[-4:]
    matrix = jnp.moveaxis(kernel, -4, -2).reshape(*kernel.shape[:-4], kw * channels, kh * out)
    rows = columns.reshape(*image.shape[:-4], -1, kw * channels) @ matrix
    rows = rows.reshape(*image.shape[:-4], n, tall, wide, kh, out)
    return sum(rows[..., i : i + tall - kh + 1, :, i, :] for i in range(kh))


def gradient_as_product(image, other, *, padding):
    """Sum image[h+i-ph, w+j-pw] x other[h, w] over all pixels for every tap (i, j) at once."""
    kh, kw = taps_between(image, other, padding)
    channels, out = image.shape[-1], other.shape[-1]
    columns, rows = bordered(image, padding), other
    if channels <= FEW_CHANNELS:
        tall = other.shape[-3]
        shifts = [shifted(columns[..., i : i + tall, :, :], kw) for i in range(kh)]
        columns = jnp.concatenate(shifts, -1)
    else:
        nothing = [(0, 0)] * (other.ndim - 3)
        shifts = [jnp.pad(other, (*nothing, (i, kh - 1 - i), (0, 0), (0, 0))) for i in range(kh)]
        columns, rows = shifted(columns, kw), jnp.concatenate(shifts, -1)
    columns, rows = (a.reshape(*a.shape[:-4], -1, a.shape[-1]) for a in (columns, rows))
    product = jnp.swapaxes(columns, -1, -2) @ rows
    if channels <= FEW_CHANNELS:
        return product.reshape(*image.shape[:-4], kh, kw, channels, out)
    return jnp.moveaxis(product.reshape(*image.shape[:-4], kw, channels, kh, out), -2, -4)


def bordered(image, padding):
    """Put zeros around images."""
    nothing = [(0, 0)] * (image.ndim - 3)
    return jnp.pad(image, (*nothing, (padding[0],) * 2, (padding[1],) * 2, (0, 0)))


def shifted(image, count):
    """Lay `count` shifts along W side by side in the channels."""
    wide = image.shape[-2] - count + 1
    return jnp.concatenate([image[..., j : j + wide, :] for j in range(count)], -1)


# On a processor: a task after the other, and the library's convolution, which gets as fast as the
# machine from 32 outputs on. Chosen by timing the shapes of U-Nets of widths 8 to 128.

OUTPUTS, NARROW = 32, 16  # below so many outputs, of at most so many inputs, pixels go together
FEW_CHANNELS = 4  # input channels up to which all taps of a kernel's gradient fit one product


def on_processor(image, kernel, *, padding):
    """Convolve; neighboring pixels of few channels together, by a wider kernel that steps over
    them."""
    kh, kw, channels, out = kernel.shape
    wide = image.shape[2] + 2 * padding[1] - kw + 1
    pixels = math.gcd(wide, 4, OUTPUTS // out) if channels <= NARROW and out < OUTPUTS else 1
    if pixels > 1:
        moves = [((0, 0), (p, pixels - 1 - p), (0, 0), (0, 0)) for p in range(pixels)]
        kernel = jnp.stack([jnp.pad(kernel, move) for move in moves], 3)
        kernel = kernel.reshape(kh, kw + pixels - 1, channels, pixels * out)
    result = lax.conv_general_dilated(
        image,
        kernel,
        (1, pixels),
        [(p, p) for p in padding],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return result.reshape(*result.shape[:2], wide, out)


def one_task_after_another(form):
    """Do one task after another."""

    def mapped(a, b, **options):
        if a.ndim == 4:
            return form(a, b, **options)
        return lax.map(lambda each: mapped(*each, **options), (a, b))

    return mapped


for primitive, form, cpu_form in (
    (convolution, as_product, on_processor),
    (kernel_gradient, gradient_as_product, gradient_as_product),
):
    lowering = mlir.lower_fun(form, multiple_results=False)
    mlir.register_lowering(primitive, lowering)
    lowering = mlir.lower_fun(one_task_after_another(cpu_form), multiple_results=False)
    mlir.register_lowering(primitive, lowering, platform="cpu")
    primitive.def_impl(jax.disable_jit(False)(jax.jit(primitive.bind, static_argnames="padding")))
    batching.primitive_batchers[primitive] = partial(batched, primitive)
