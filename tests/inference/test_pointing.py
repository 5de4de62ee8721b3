"""What is pointed at in voxels of a file is what a network is told, in any orientation; one mask
holds several."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, binary_erosion

from jaxmeta.data.grid import Grid, to_slices
from jaxmeta.data.intensity import CT, ends
from jaxmeta.data.orientation import AXES
from jaxmeta.data.postprocess import highest
from jaxmeta.data.scan import Scale, Scan, network_input
from jaxmeta.errors import BadInput
from jaxmeta.inference.prompts import Pointed, parse_pointed, pointer
from jaxmeta.models.sam import Sam, Size
from jaxmeta.models.sam.images import PREPROCESSING
from jaxmeta.models.sam.prompts import INSIDE
from tests.helpers.scans import oriented

SHAPE, SIDE = (24, 20, 28), 56


def obedient() -> Sam:
    """Make a network that fills boxes, and is surer of squares around clicks: surer than a float of
    a half."""
    size = Size(8, 1, 1, (0,), image=SIDE, patch=4)

    def decode(variables, embedding, prompts, *, several=False):
        y, x = jnp.mgrid[:SIDE, :SIDE]
        inside = jnp.zeros((SIDE, SIDE), bool)
        if prompts.boxes is not None:
            left, top, right, bottom = prompts.boxes[0]
            inside |= (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
        if prompts.points is not None:
            for at, label in zip(prompts.points[0], prompts.labels[0], strict=True):
                near = (abs(x - at[0]) <= 4) & (abs(y - at[1]) <= 4)
                inside = jnp.where(near, label == INSIDE, inside)
        sure = 20.0 if prompts.boxes is not None else 30.0
        logits = jnp.where(inside, sure, -4.0)[None, ..., None]
        return jnp.repeat(logits, 3 if several else 1, axis=-1), jnp.ones((1, 3 if several else 1))

    return Sam(size, None, None, lambda variables, image: image, None, decode)


def answered(grid, *structures):
    """Give the logits of every slice of a volume, -inf where nobody pointed."""
    slices = np.zeros((*to_slices(np.zeros(SHAPE), grid).shape, 1), np.float32)
    numbers, logits = pointer(obedient(), {})(slices, grid, structures)
    whole = np.full((len(structures), *slices.shape[:3]), -np.inf, np.float32)
    whole[:, numbers] = logits
    return whole


corner = st.tuples(*(st.integers(0, side - 1) for side in SHAPE))


@settings(max_examples=15, deadline=None)
@given(corner, corner, st.sampled_from(("RAS", "LPS", "ASL", "SRP", "PIR")), st.sampled_from(AXES))
def test_a_box_in_voxels_of_the_file_is_where_the_mask_is(one, other, codes, axis):
    """Exactly in the slices that it crosses; within them to a pixel, for slices are resized."""
    grid = Grid(SHAPE, oriented(codes, SHAPE, (1.0, 1.0, 1.0)), b"", axis)
    first, last = np.minimum(one, other), np.maximum(one, other)
    box = np.zeros(SHAPE, bool)
    box[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))] = True
    (found,) = answered(grid, Pointed(boxes=((one, other),))) > 0
    wanted = to_slices(box, grid)
    assert not (found.any((1, 2)) & ~wanted.any((1, 2))).any()
    pixel = np.ones((1, 3, 3), bool)
    assert not (found & ~binary_dilation(wanted, pixel)).any()
    assert not (binary_erosion(wanted, pixel) & ~found).any()


@pytest.mark.parametrize("name", PREPROCESSING)
def test_weights_see_greys_as_they_learned_from_them(name):
    """A CT from -160 to 240 HU spans all greys, whatever a network that learns here makes of it."""
    preprocessing, window = PREPROCESSING[name], ends(CT)
    hounsfield = np.linspace(-300, 400, 28 * 20, dtype=np.float32).reshape(1, 20, 28)
    grid = Grid((28, 20, 1), np.eye(4), b"", "axial")
    shown = obedient()._replace(
        decode=lambda variables, seen, prompts, *, several: (seen[..., :1], jnp.ones((1, 1)))
    )
    segment = pointer(shown, {}, preprocessing, window)
    slices = network_input(Scan(hounsfield, Scale(), grid, CT), [0], None)
    _, seen = segment(slices, grid, (Pointed(boxes=(((1, 1, 0), (5, 5, 0)),)),))
    grey = np.clip((hounsfield + 160) / 400, 0, 1) * 255
    wanted = (grey - preprocessing.mean[0]) / preprocessing.std[0]
    assert np.abs(seen[0] - wanted).max() < 0.2 and np.abs(seen[0] - wanted).mean() < 0.01
    assert seen.max() == pytest.approx(
        (255 - preprocessing.mean[0]) / preprocessing.std[0], abs=1e-4
    )


def test_several_structures_are_what_each_is_alone_and_one_mask_of_the_most_probable():
    grid = Grid(SHAPE, np.eye(4), b"", "axial")
    boxed = Pointed(boxes=(((2, 2, 3), (9, 9, 4)),))
    clicked = Pointed(clicks=(((8, 8, 4), True), ((2, 8, 4), False)))
    both = answered(grid, boxed, clicked)
    np.testing.assert_array_equal(both[0], answered(grid, boxed)[0])
    np.testing.assert_array_equal(both[1], answered(grid, clicked)[0])
    assert set(np.flatnonzero(np.isfinite(both[0]).any((1, 2)))) == {3, 4}
    assert set(np.flatnonzero(np.isfinite(both[1]).any((1, 2)))) == {4}
    surer = (both[1] > 0) & (both[1] > both[0])
    assert ((both > 17) & surer).all(0).any(), "where both are as sure as a float of 1 can be"
    for values in ((5, 2), (2, 5)):
        labels = highest(both, values, above=0.0)
        np.testing.assert_array_equal(labels > 0, (both > 0).any(0))
        np.testing.assert_array_equal(labels[surer], values[1])
        np.testing.assert_array_equal(labels[(both[0] > 0) & ~surer], values[0])


def test_a_structure_has_the_value_written_before_it_and_1_without():
    pointed = parse_pointed(["3:1,2,3,4,5,6", "0,0,0,1,1,1"], ["3:7,8,9"], ["3:1,1,1"])
    assert list(pointed) == [1, 3]
    assert pointed[1] == Pointed(boxes=(((0, 0, 0), (1, 1, 1)),))
    assert pointed[3].boxes == (((1, 2, 3), (4, 5, 6)),)
    assert pointed[3].clicks == (((7, 8, 9), True), ((1, 1, 1), False))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((["1,2,3"], [], []), "`box=1,2,3`: write X,Y,Z,X,Y,Z"),
        (([], ["1,2,x"], []), "`click=1,2,x`: write X,Y,Z, whole voxels"),
        (([], ["0:1,2,3"], []), "or VALUE:X,Y,Z"),
        (([], ["liver:1,2,3"], []), "or VALUE:X,Y,Z"),
        (([], ["70000:1,2,3"], []), "or VALUE:X,Y,Z"),
        (([], [":1,2,3"], []), "or VALUE:X,Y,Z"),
        (([], ["1_0:1,2,3"], []), "or VALUE:X,Y,Z"),
        (([], ["1:1,2,3"], ["2:1,2,3"]), "alone shows no structure 2: add `box` or `click`"),
    ],
)
def test_what_points_at_nothing_is_refused(words, told):
    with pytest.raises(BadInput, match=told):
        parse_pointed(*words)


def test_two_boxes_of_one_structure_on_a_slice_are_refused_and_of_two_are_not():
    grid = Grid(SHAPE, np.eye(4), b"", "axial")
    one, other = ((1, 1, 2), (5, 5, 2)), ((7, 7, 2), (9, 9, 3))
    with pytest.raises(BadInput, match="two boxes of a structure cross the same slice"):
        answered(grid, Pointed(boxes=(one, other)))
    assert answered(grid, Pointed(boxes=(one,)), Pointed(boxes=(other,))).shape[0] == 2


def test_a_slice_that_is_only_told_where_the_structure_is_not_is_refused():
    grid = Grid(SHAPE, np.eye(4), b"", "axial")
    box = ((2, 2, 3), (9, 9, 4))
    beside = ((5, 5, 20), False)
    with pytest.raises(BadInput, match="`click_outside=5,5,20`: its slice has no `box`"):
        answered(grid, Pointed(boxes=(box,), clicks=(beside,)))
    answered(grid, Pointed(boxes=(box,), clicks=(beside, ((1, 1, 20), True))))
