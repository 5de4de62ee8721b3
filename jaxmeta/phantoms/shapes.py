"""The shape families of which phantom organs are made.

A family maps points of the plane to a *depth*: positive inside, zero on the outline, in units of
the organ's radius and roughly a signed distance, so that a depth of half a pixel is half a pixel of
partial volume. Every family has one free parameter `p` in [0, 1] (elongation, thickness, number of
arms): two organs of one family differ in it, and so does the same organ, a little, between
patients.

`FAMILIES` is the vocabulary; which phase of learning uses which word stands in `write.py`.
"""

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "*points"]


def ellipse(x: Points, y: Points, p: float) -> Points:
    """An ellipse of area pi, its axes from 1 : 1 to 1 : 2."""
    stretch = 2 ** (0.5 * p)
    return 1 - np.hypot(x / stretch, y * stretch)


def box(x: Points, y: Points, p: float) -> Points:
    """A rectangle with rounded corners, its sides from 1 : 1 to 1 : 2."""
    stretch = 2 ** (0.5 * p)
    return _box(x, y, 0.72 * stretch, 0.72 / stretch) + 0.15


def diamond(x: Points, y: Points, p: float) -> Points:
    """A rhombus standing on its point."""
    stretch = 1.1 + 0.35 * p
    return (1.2 - np.abs(x) / stretch - np.abs(y) * stretch) * 0.75


def annulus(x: Points, y: Points, p: float) -> Points:
    """A ring; the hole belongs to the background."""
    width = 0.28 + 0.12 * p
    return width - np.abs(np.hypot(x, y) - 0.8)


def crescent(x: Points, y: Points, p: float) -> Points:
    """A disc out of which another disc is cut."""
    return np.minimum(1.1 - np.hypot(x, y), np.hypot(x - 0.75, y) - (0.85 - 0.25 * p))


def lobes(x: Points, y: Points, p: float) -> Points:
    """A flower with three, four or five petals."""
    petals = 3 + int(2.99 * p)
    return 1 + 0.3 * np.cos(petals * np.arctan2(y, x)) - np.hypot(x, y)


def star(x: Points, y: Points, p: float) -> Points:
    """Four to six pointed arms."""
    arms = 4 + int(2.99 * p)
    turn = np.abs(np.mod(np.arctan2(y, x) * arms / (2 * np.pi), 1) - 0.5) * 2
    return (1.35 - 0.8 * (1 - turn) - np.hypot(x, y)) * 0.7


def peanut(x: Points, y: Points, p: float) -> Points:
    """Two discs of different size that have grown together."""
    apart = 0.6 + 0.2 * p
    return np.maximum(0.72 - np.hypot(x - apart, y), 0.6 - np.hypot(x + apart, y))


def pair(x: Points, y: Points, p: float) -> Points:
    """Two separate discs: an organ of two pieces."""
    apart = 0.85 + 0.15 * p
    return np.maximum(0.66 - np.hypot(x - apart, y), 0.56 - np.hypot(x + apart, y))


def arc(x: Points, y: Points, p: float) -> Points:
    """A bent tube: a thick piece of a circle, open on one side."""
    opening = 0.9 + 0.5 * p
    angle = np.arctan2(y, x)
    end = np.minimum(np.hypot(x - 0.9 * np.cos(opening), np.abs(y) - 0.9 * np.sin(opening)), 9)
    along = np.abs(np.hypot(x, y) - 0.9)
    return 0.33 - np.where(np.abs(angle) > opening, along, end)


def wave(x: Points, y: Points, p: float) -> Points:
    """A tube in the form of an S."""
    return np.minimum(0.38 - 0.8 * np.abs(y - 0.5 * np.sin((2.2 + p) * x)), 1.35 - np.abs(x))


def cross(x: Points, y: Points, p: float) -> Points:
    """Two bars across each other."""
    width = 0.3 + 0.1 * p
    return np.maximum(_box(x, y, 1.15, width), _box(x, y, width, 0.95))


def elbow(x: Points, y: Points, p: float) -> Points:
    """An L of two bars."""
    width = 0.33 + 0.08 * p
    upright, foot = _box(x + 0.6, y, width, 1.05), _box(x - 0.1, y + 0.72, 1.03, width)
    return np.maximum(upright, foot)


def half(x: Points, y: Points, p: float) -> Points:
    """The part of a disc on one side of a chord."""
    return np.minimum(1.25 - np.hypot(x + 0.5, y), x + 0.45 + 0.2 * p)


def comb(x: Points, y: Points, p: float) -> Points:
    """A spine with three teeth."""
    teeth = [_box(x - at, y - 0.25, 0.2 + 0.05 * p, 0.8) for at in (-0.85, 0.0, 0.85)]
    return np.maximum.reduce([_box(x, y + 0.65, 1.1, 0.3), *teeth])


def bowl(x: Points, y: Points, p: float) -> Points:
    """A U: a box that is open at its top."""
    hollow = _box(x, y - 0.5, 0.5 + 0.1 * p, 0.95)
    return np.minimum(_box(x, y, 1.0, 0.95), -hollow)


def teardrop(x: Points, y: Points, p: float) -> Points:
    """A disc drawn out to a point on one side."""
    reach = 1.5 + 0.3 * p
    taper = 0.75 * np.clip((reach - x) / (reach + 0.4), 0, 1)
    return np.maximum(0.75 - np.hypot(x + 0.4, y), np.minimum(taper - np.abs(y), x + 0.4))


def tee(x: Points, y: Points, p: float) -> Points:
    """A T of two bars."""
    width = 0.33 + 0.08 * p
    return np.maximum(_box(x, y - 0.7, 1.1, width), _box(x, y + 0.1, width, 1.05))


def trapezoid(x: Points, y: Points, p: float) -> Points:
    """Two parallel sides, one of them much longer."""
    slope = 0.35 + 0.2 * p
    return np.minimum(0.75 - np.abs(y), (0.85 - slope * y - np.abs(x)) * 0.9)


def bolt(x: Points, y: Points, p: float) -> Points:
    """A Z: two bars with a slanting one between them."""
    bars = np.maximum(_box(x, y - 0.75, 0.95, 0.28), _box(x, y + 0.75, 0.95, 0.28))
    slant = np.minimum(0.3 + 0.08 * p - 0.75 * np.abs(x - y), 0.9 - np.abs(y))
    return np.maximum(bars, slant)


def triangle(x: Points, y: Points, p: float) -> Points:
    """An isosceles triangle."""
    stretch = 2 ** (0.3 * p)
    x, y = x * stretch, y / stretch
    return np.minimum(y + 0.72, 0.72 - 0.5 * y - 0.87 * np.abs(x))


def heart(x: Points, y: Points, p: float) -> Points:
    """A heart: two bumps over a point."""
    bumps = 0.62 - np.hypot(np.abs(x) - 0.5, y - 0.35)
    point = np.minimum((1.25 - np.abs(x) * 1.25 + y * (0.9 + 0.2 * p)) * 0.6, 0.45 - y)
    return np.maximum(bumps, point)


def wedge(x: Points, y: Points, p: float) -> Points:
    """A disc without a slice: the opening of an angle of 70 to 110 degrees."""
    angle = 0.6 + 0.35 * p
    cut = np.sin(angle) * x - np.cos(angle) * np.abs(y)
    return np.minimum(1.05 - np.hypot(x, y), -cut)


def chevron(x: Points, y: Points, p: float) -> Points:
    """An arrow head: a V of two thick strokes."""
    slope = 0.9 + 0.3 * p
    band = 0.5 - np.abs(y + slope * np.abs(x) - 0.55) * 0.75
    return np.minimum(band, 1.1 - np.abs(x))


def _box(x, y, width, height):
    return np.minimum(width - np.abs(x), height - np.abs(y))


FAMILIES = {
    family.__name__: family
    for family in (
        *(ellipse, box, diamond, annulus, crescent, lobes, star, peanut, pair, arc, wave, cross),
        *(elbow, half, comb, bowl, teardrop, tee, trapezoid, bolt),
        *(triangle, heart, wedge, chevron),
    )
}
