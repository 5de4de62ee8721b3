"""The rule: where a structure lies, how it looks, and what the scan itself says of that.

Labelled slices of some patients are an atlas. A new scan is segmented in four steps, none of which
learns anything from other structures or scans: the atlas is moved to where the body lies
(`alignment.py`) and then to where the structure most likely does (`shifted`); each pixel asks the
atlas by the patch around it (`patches.py`); its intensity says how much likelier it is inside than
beside (`intensity.py`); and these histograms are made anew of the scan's own posterior, a few times
over - expectation maximization, as in Van Leemput et al. 1999 (doi:10.1109/42.811270) and in
Ashburner and Friston's unified segmentation (2005, doi:10.1016/j.neuroimage.2005.02.018).

Lengths are in pixels of a slice of 64; other sizes scale them, and slices finer than `FINEST` are
shrunk to it on the way, for nothing is gained there. Nothing here is compiled.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Real
from scipy.ndimage import zoom

from jaxmeta.atlas.alignment import body_box, moved
from jaxmeta.atlas.intensity import (
    Binned,
    binned,
    blurred,
    histogram,
    looked_up,
    surroundings,
)
from jaxmeta.atlas.patches import Search, votes

SIZE = 64  # pixels of a side that lengths are for
FINEST = 128  # .666 in place of .660 at 64, in four times its time


class Atlas(NamedTuple):
    """Labelled slices, of one scan or several."""

    image: Float[np.ndarray, "K S S"]  # normalized
    mask: Real[np.ndarray, "K S S"]
    height: Float[np.ndarray, " K"]  # of a slice in its scan: 0 in the first, 1 in the last
    scan: Integer[np.ndarray, " K"]  # numbers of scans: slices of one show the same body


class Rule(NamedTuple):
    """What the rule is set to; see RESULTS.md for how it was chosen."""

    image_blur: float = 0.7
    surround: float = 6.0  # reach of what is compared with the structure
    ratio_blur: float = 0.8
    height_sd: float = 0.08  # of relative height: how far a slice stands for others
    place_blur: float = 0.4  # of a structure's radius: how exactly it lies in place
    place_least: float = 0.7
    place_most: float = 4.0
    shift: int = 3  # the most that a structure is looked for elsewhere
    shift_sd: float = 1.5
    pixels: float = 0.02  # how much a pixel counts there: neighbors say the same
    search: Search = Search()
    asked: int = 2  # labelled slices that a slice asks
    certain: float = 0.02  # no vote is surer than this, and beyond reach its square
    weight: float = 2.0  # of intensity against place
    rounds: int = 5  # of expectation maximization, from two labelled slices on
    own: float = 0.5  # share of the scan itself in its histograms


def segment(
    atlas: Atlas,
    image: Float[np.ndarray, "N S S"],
    height: Float[np.ndarray, " N"],
    rule: Rule = Rule(),
) -> Float[np.ndarray, "N S S"]:
    """Give the probability of the atlas's structure in every pixel of a scan's slices."""
    if (size := image.shape[-1]) > FINEST:
        found = segment(shrunk(atlas), resized(image, FINEST), height, rule)
        return resized(found, size)
    said = evidence(atlas, image, height, rule)
    return sigmoid(said.place + rule.weight * said.ratio)


class Evidence(NamedTuple):
    """What the rule says of each pixel of a scan's slices; its answer is the sigmoid of `place` and
    `rule.weight` times `ratio`."""

    place: Float[np.ndarray, "N S S"]  # log-odds of the structure by place and patches
    ratio: Float[np.ndarray, "N S S"]  # log of by how much its intensity is likelier inside
    nearest: Float[np.ndarray, "N S S"]  # the mask nearest in height, moved to the body


def evidence(
    atlas: Atlas,
    image: Float[np.ndarray, "N S S"],
    height: Float[np.ndarray, " N"],
    rule: Rule = Rule(),
) -> Evidence:
    """Give what the rule goes by, before it makes an answer of it."""
    if (size := image.shape[-1]) > FINEST:
        said = evidence(shrunk(atlas), resized(image, FINEST), height, rule)
        return Evidence(*(resized(each, size) for each in said))
    atlas = ordered(atlas)
    rule, scale = scaled(rule, image.shape[-1])
    ratio = likelihoods(atlas, image, rule)
    log_ratio = ratio(None)
    known = shifted(aligned(atlas, image, height, scale), log_ratio, height, rule)
    place = log_odds(fused(known, image, height, rule), rule.certain)
    for _ in range(rule.rounds if len(atlas.height) > 1 else 0):
        log_ratio = ratio(sigmoid(place + rule.weight * log_ratio))
    nearest = known.mask[np.abs(height[:, None] - known.height).argmin(1)]
    return Evidence(place, log_ratio, nearest)


def shrunk(atlas: Atlas) -> Atlas:
    """Bring an atlas to the finest slices that pay."""
    return atlas._replace(image=resized(atlas.image, FINEST), mask=resized(atlas.mask, FINEST))


def ordered(atlas: Atlas) -> Atlas:
    """Sort slices by what they are, so that their order says nothing."""
    order = np.lexsort((atlas.image.sum((1, 2)), atlas.mask.sum((1, 2)), atlas.height))
    return Atlas(*(each[order] for each in atlas))._replace(
        mask=atlas.mask[order].astype(np.float32)
    )


def resized(stack: Real[np.ndarray, "N S S"], size: int) -> Float[np.ndarray, "N s s"]:
    """Resize slices, linear between pixels."""
    by = size / stack.shape[-1]
    how = dict(order=1, mode="nearest", grid_mode=True)
    return zoom(stack.astype(np.float32), (1, by, by), **how)


def scaled(rule: Rule, size: int) -> tuple[Rule, float]:
    """Bring lengths to slices of another size."""
    scale = size / SIZE
    search = rule.search
    whole = max(1, round(scale))
    search = search._replace(
        side=2 * round(search.side * scale / 2 - 0.5) + 1,
        reach=round(search.reach * scale / whole) * whole,
        step=search.step * whole,
        sd=search.sd * scale,
        blur=search.blur * scale,
    )
    lengths = ("image_blur", "surround", "ratio_blur", "place_least", "place_most", "shift_sd")
    return rule._replace(
        search=search,
        shift=round(rule.shift * scale),
        pixels=rule.pixels / scale**2,
        **{name: getattr(rule, name) * scale for name in lengths},
    ), scale


def likelihoods(atlas: Atlas, image: Float[np.ndarray, "N S S"], rule: Rule):
    """Make ratio(posterior): by how much each pixel's intensity is likelier inside than beside, as
    a logarithm; None asks the atlas alone."""
    known = binned(blurred(atlas.image, rule.image_blur))
    pixels = binned(blurred(image, rule.image_blur))

    def inside_and_beside(of: Binned, mask):
        return np.stack([histogram(of, mask), histogram(of, surroundings(mask, rule.surround))])

    taught = inside_and_beside(known, atlas.mask)

    def ratio(posterior):
        both = taught
        if posterior is not None:
            both = (1 - rule.own) * taught + rule.own * inside_and_beside(pixels, posterior)
        inside, beside = both
        return blurred(looked_up(np.log(inside / beside), pixels), rule.ratio_blur)

    return ratio


def aligned(
    atlas: Atlas, image: Float[np.ndarray, "N S S"], height: Float[np.ndarray, " N"], scale: float
) -> Atlas:
    """Move each scan's slices to where the new body lies; bodies are boxed at the same heights."""
    images, masks = np.empty_like(atlas.image, np.float32), np.empty_like(atlas.mask)
    for number in np.unique(atlas.scan):
        own = atlas.scan == number
        same = np.unique(np.abs(height[:, None] - atlas.height[own]).argmin(0))
        boxes = body_box(atlas.image[own], scale), body_box(image[same], scale)
        images[own], masks[own] = moved(atlas.image[own], *boxes), moved(atlas.mask[own], *boxes)
    return atlas._replace(image=images, mask=masks)


def shifted(
    atlas: Atlas,
    log_ratio: Float[np.ndarray, "N S S"],
    height: Float[np.ndarray, " N"],
    rule: Rule,
) -> Atlas:
    """Move the atlas by whole pixels to where the scan's intensities make it likeliest.

    With p the probability by place and L the ratio of likelihoods a shift's is the sum of
    log(1 + p (L - 1)) over pixels, each of which counts little, and a Gaussian's around none.
    """
    radius = np.sqrt(atlas.mask.sum((1, 2)).max() / np.pi)
    sd = np.clip(rule.place_blur * radius, rule.place_least, rule.place_most)
    weight = by_height(atlas, height, rule.height_sd)
    place = np.tensordot(weight, blurred(atlas.mask, sd), 1)
    more = np.exp(np.clip(log_ratio, -6, 6)) - 1
    best, by = -np.inf, (0, 0)
    for shift in shifts(rule.shift, max(1, rule.search.step)):
        gain = rule.pixels * np.log1p(rolled(place, shift) * more).sum()
        gain -= 0.5 * (shift[0] ** 2 + shift[1] ** 2) / rule.shift_sd**2
        if gain > best:
            best, by = gain, shift
    return atlas._replace(image=rolled(atlas.image, by), mask=rolled(atlas.mask, by))


def shifts(most: int, step: int) -> Iterator[tuple[int, int]]:
    """List shifts, the shortest first: of equally likely ones that is taken."""
    along = range(-most // step * step, most + 1, step)
    yield from sorted(((a, b) for a in along for b in along), key=lambda s: s[0] ** 2 + s[1] ** 2)


def rolled(stack: Float[np.ndarray, "N S S"], by: tuple[int, int]) -> Float[np.ndarray, "N S S"]:
    """Move slices by whole pixels; what leaves on one side is far from any structure."""
    return np.roll(stack, by, (1, 2))


def by_height(atlas: Atlas, height: Float[np.ndarray, " N"], sd: float) -> Float[np.ndarray, "N K"]:
    """Weigh labelled slices for each slice by how near they lie, less and less beyond the ends.

    Where none is near the nearest stands alone. Beyond the labelled stretch the weights' sum falls
    like a Gaussian of one mean gap between labelled slices; one slice tells nothing of an end.
    """
    near = np.exp(-0.5 * ((height[:, None] - atlas.height) / sd) ** 2)
    total = near.sum(1, keepdims=True)
    alone = np.eye(len(atlas.height))[np.abs(height[:, None] - atlas.height).argmin(1)]
    weight = np.where(total < 0.05, alone, near / np.maximum(total, 1e-9))
    low, high, count = atlas.height.min(), atlas.height.max(), len(np.unique(atlas.height))
    if count < 2:
        return weight.astype(np.float32)
    gaps = np.maximum(low - height, height - high) / ((high - low) / (count - 1))
    return (weight * np.exp(-0.5 * np.maximum(gaps, 0) ** 2)[:, None]).astype(np.float32)


def fused(
    atlas: Atlas, image: Float[np.ndarray, "N S S"], height: Float[np.ndarray, " N"], rule: Rule
) -> Float[np.ndarray, "N S S"]:
    """Let each slice ask the labelled slices nearest to it."""
    weight = by_height(atlas, height, rule.height_sd)
    order = np.argsort(-weight, 1, kind="stable")[:, : rule.asked]
    much = np.take_along_axis(weight, order, 1)
    ends = weight.sum(1)[:, None, None]
    much = much / np.maximum(much[:, :1], 1e-9)
    much[:, 1:] *= much[:, 1:] > 0.05
    return votes(image, atlas.image, atlas.mask, order, much, rule.search) * ends


def log_odds(probability: Float[np.ndarray, "N S S"], certain: float) -> Float[np.ndarray, "N S S"]:
    """Turn votes to log-odds; none is surer than `certain`, and where nobody was asked its
    square."""
    sure = np.where(probability > 0, np.clip(probability, certain, 1 - certain), certain**2)
    return np.log(sure / (1 - sure)).astype(np.float32)


def sigmoid(logit: Float[np.ndarray, "N S S"]) -> Float[np.ndarray, "N S S"]:
    """Turn log-odds to probabilities."""
    return 0.5 * (1 + np.tanh(0.5 * logit))
