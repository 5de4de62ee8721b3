"""From images of any shape to the square that the network sees, and back.

As published, the longer side is resized to the square's and the shorter one in proportion; what is
left, below and on the right, is filled with zeros after normalization, so that prompts need no
shift. Weights that learned from images shown in another way want them so again: `Preprocessing`
says how."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Real

from jaxmeta.errors import BadInput
from jaxmeta.models.sam.prompts import Prompts

LOW, HIGH = -2.0, 3.0  # of a normalized slice: what is shown as black and as white
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of red, green, blue: ImageNet's


class Preprocessing(NamedTuple):
    """How weights were shown images when they learned."""

    mean: tuple[float, float, float] = MEAN  # taken from colors from 0 to 255
    std: tuple[float, float, float] = STD  # that the rest is divided by
    stretched: bool = False  # over the whole square, whatever the proportions


PREPROCESSING = {
    "sam": Preprocessing(),
    # MedSAM (Ma et al. 2024, arXiv 2304.12306): from 0 to 1, stretched to 1024 x 1024
    "medsam": Preprocessing((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), stretched=True),
}
TRAINED_HERE = Preprocessing(stretched=True)  # as shards are resized to squares


class Layout(NamedTuple):
    """How an image lies in the network's square."""

    height: int  # of the image itself
    width: int
    inner: tuple[int, int]  # rows and columns that it takes
    side: int  # of the square


def layout_of(
    height: int, width: int, side: int, *, patch: int = 16, stretched: bool = False
) -> Layout:
    """Say how an image of this shape is laid out; raises BadInput for one smaller than a patch."""
    if min(height, width) < patch:
        raise BadInput(
            f"an image of {height} x {width} pixels is smaller than one patch of {patch} x {patch}"
        )
    scale = side / max(height, width)
    inner = tuple(max(1, int(length * scale + 0.5)) for length in (height, width))
    return Layout(height, width, (side, side) if stretched else inner, side)


def as_colors(
    image: Float[Array, "N H W C"], low: float | int, high: float | int
) -> Float[Array, "N H W 3"]:
    """Stretch values from `low` to `high` over 0 to 255, and show one channel as grey.

    Raises BadInput for another number of channels than 1 or 3.
    """
    channels = image.shape[-1]
    if channels not in (1, 3):
        raise BadInput(f"images of {channels} channels: 1 (grey) or 3 (colors) can be shown")
    seen = jnp.clip((image - low) / (high - low), 0, 1) * 255
    return jnp.broadcast_to(seen, (*image.shape[:-1], 3))


def normalized(
    image: Float[Array, "N H W 3"], preprocessing: Preprocessing = Preprocessing()
) -> Float[Array, "N H W 3"]:
    """Take a mean from colors from 0 to 255, and divide by a spread."""
    mean, std = (jnp.array(of)[None, None, None] for of in (preprocessing.mean, preprocessing.std))
    return (image - mean) / std


def slices_as_colors(
    image: Float[Array, "N H W 1"], preprocessing: Preprocessing = Preprocessing()
) -> Float[Array, "N H W 3"]:
    """Show slices of normalized intensities as the image encoder sees them: grey from LOW to
    HIGH."""
    return normalized(as_colors(image, LOW, HIGH), preprocessing)


def fitted(
    image: Float[Array, "N H W 3"], frame: Layout, preprocessing: Preprocessing = Preprocessing()
) -> Float[Array, "N S S 3"]:
    """Resize colors from 0 to 255 into the frame, normalize them, and fill up with zeros."""
    count, high, wide = image.shape[0], *frame.inner
    if image.shape[1:3] != frame.inner:
        image = jax.image.resize(image, (count, high, wide, 3), "linear", antialias=True)
    return jnp.pad(
        normalized(image, preprocessing),
        ((0, 0), (0, frame.side - high), (0, frame.side - wide), (0, 0)),
    )


def restored(logits: Float[Array, "N h w M"], frame: Layout) -> Float[Array, "N H W M"]:
    """Enlarge the decoder's logits to the square, take the image's part, and resize that to the
    image."""
    count, masks = logits.shape[0], logits.shape[-1]
    square = jax.image.resize(logits, (count, frame.side, frame.side, masks), "linear")
    inner = square[:, : frame.inner[0], : frame.inner[1]]
    shape = count, frame.height, frame.width, masks
    return jax.image.resize(inner, shape, "linear", antialias=False)


def in_frame(prompts: Prompts, frame: Layout) -> Prompts:
    """Move prompts given in the image's own pixels to those of the network.

    Raises BadInput for a click or a corner outside the image.
    """
    factor = np.array([frame.inner[1] / frame.width, frame.inner[0] / frame.height], np.float32)
    points, boxes = prompts.points, prompts.boxes
    if points is not None:
        inside = outside_none(points, frame) | (np.asarray(prompts.labels) < 0)
        refuse(points, inside, "a click", frame)
        points = points * factor
    if boxes is not None:
        corners = np.asarray(boxes).reshape(-1, 2, 2)
        refuse(corners, outside_none(corners, frame), "a corner of a box", frame)
        boxes = (corners * factor).reshape(-1, 4)
    return prompts._replace(points=points, boxes=boxes)


def outside_none(at: Real[np.ndarray, "N K 2"], frame: Layout) -> Bool[np.ndarray, "N K"]:
    """Say of each place whether it lies within the image."""
    at = np.asarray(at)
    return ((at >= 0) & (at <= (frame.width, frame.height))).all(-1)


def refuse(at: np.ndarray, inside: np.ndarray, what: str, frame: Layout) -> None:
    """Name the first place that lies outside of the image."""
    for x, y in np.asarray(at)[~inside][:1]:
        raise BadInput(
            f"{what} at x {x:g}, y {y:g} lies outside of the image of {frame.width} x "
            f"{frame.height} pixels"
        )
