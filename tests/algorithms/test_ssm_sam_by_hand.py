"""SSM-SAM's optimisation by hand, on a network of one number that shows what it is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.sam.sizes import SMALL

from jaxmeta.algorithms.algorithm import Meta
from jaxmeta.algorithms.ssm_sam import Drawn, as_pictures, chunk_loss, cosine, ssm_sam
from jaxmeta.models.sam.adapters import Adapter, Prefix
from jaxmeta.models.sam.images import slices_as_colours
from jaxmeta.models.ssm_sam import SsmSam
from jaxmeta.models.ssm_sam.blur import halo
from jaxmeta.tasks.task import Examples, Task


def large(mask):
    return jnp.repeat(jnp.repeat(mask, 4, axis=1), 4, axis=2)


def apply(frozen, learned, prefix, points, mask, *, key=None):
    """Logits are w times the halo, tilted by the pixels and by how many points there are."""
    told = 2 * large(mask) - 1 + 0.1 * prefix.tokens[..., 0]
    return learned["w"] * told + 0.02 * points.shape[1]


SHOWN = SsmSam(
    SMALL,
    Adapter((0,), None),
    lambda key: {"w": jnp.array(0.5)},
    lambda frozen, pixels: Prefix(pixels),
    apply,
)


def examples(seed, count):
    rng = np.random.default_rng(seed)
    image = jnp.asarray(rng.normal(size=(count, 16, 16, 1)), jnp.float32)
    mask = np.zeros((count, 16, 16), np.uint8)
    lent = np.zeros_like(mask)
    for n in range(count):
        mask[n, n : n + 6, 2:9] = 1
        lent[n, 5 + n // 2 : 9 + n // 2, 3:12] = 1
    return Examples(image, jnp.asarray(mask), jnp.ones(count, bool), jnp.asarray(lent))


TASK = Task(examples(0, 4), examples(1, 6), jnp.array([1, 2], jnp.uint32), jnp.zeros(2, jnp.int32))


def by_hand(w, rate, chunks_of, count, colours):
    """Give each chunk's loss as a function of w."""
    given = halo(chunks_of.given)[:, ::4, ::4]
    tokens = colours(chunks_of.image)

    def loss(w, chunk):
        at = slice(2 * chunk, 2 * chunk + 2)
        prefix = Prefix(tokens[at])
        logits = apply(None, {"w": w}, prefix, jnp.zeros((2, count, 2)), given[at])
        return chunk_loss(logits, chunks_of.mask[at], chunks_of.valid[at])

    return loss


@pytest.mark.parametrize(
    "order, learn_rate, colours",
    [
        (1, False, as_pictures),
        (1, True, slices_as_colours),
        (2, False, slices_as_colours),
        (2, True, as_pictures),
    ],
)
def test_the_direction_is_the_sum_over_query_chunks_at_where_the_walk_ended(
    order, learn_rate, colours
):
    made = ssm_sam(
        SHOWN, chunk=2, passes=2, rate=0.3, order=order, learn_rate=learn_rate, colours=colours
    )
    rates = {"w": jnp.array(0.7)} if learn_rate else ()
    meta = Meta(dict(theta={"w": jnp.array(0.5)}, rate=rates))
    assert made.init(jax.random.key(0)).learned["rate"] == ({"w": 0.3} if learn_rate else ())
    inner = by_hand(None, None, TASK.support, 20, colours)
    outer = by_hand(None, None, TASK.query, 5, colours)

    def walked(w, rate):
        for chunk in (0, 1, 0, 1):
            slope = jax.grad(inner)(w, chunk)
            w = w - rate * (jax.lax.stop_gradient(slope) if order == 1 else slope)
        return sum(outer(w, chunk) for chunk in range(3))

    direction, told = jax.jit(made.outer)(meta, TASK)
    wanted = jax.jit(jax.grad(walked, (0, 1)))(0.5, 0.7 if learn_rate else 0.3)
    np.testing.assert_allclose(direction["theta"]["w"], wanted[0], rtol=1e-4)
    if learn_rate:
        np.testing.assert_allclose(direction["rate"]["w"], wanted[1], rtol=1e-4)
    np.testing.assert_allclose(told["loss"], walked(0.5, 0.7 if learn_rate else 0.3) / 3, rtol=1e-4)


def test_no_point_is_drawn_on_a_slice_that_is_not_valid():
    """The valid slice of the chunk has one pixel, so every point is known."""
    seen = []

    def watched(frozen, learned, prefix, points, mask, *, key=None):
        jax.debug.callback(lambda p: seen.append(np.asarray(p)), points)
        return apply(frozen, learned, prefix, points, mask)

    mask = jnp.zeros((2, 16, 16), jnp.uint8).at[0, 2, 3].set(1).at[1, 9:, 9:].set(1)
    chunk = examples(0, 2)._replace(mask=mask, valid=jnp.array([True, False]))
    made = ssm_sam(SHOWN._replace(apply=watched), chunk=2, passes=1)
    jax.jit(made.outer)(made.init(jax.random.key(0)), TASK._replace(support=chunk, query=chunk))
    jax.effects_barrier()
    inner = [points for points in seen if points.shape[-2] == 20]
    assert inner and all((points == [3, 2]).all() for points in inner)


def test_online_a_network_without_gradient_only_decays_as_fast_as_the_cosine_of_its_period():
    still = SHOWN._replace(
        apply=lambda f, learned, prefix, points, mask, *, key=None: 0 * learned["w"] + large(mask)
    )
    made = ssm_sam(still, chunk=2, test_steps=6, test_rate=0.1, weight_decay=0.5, period=4)
    phi = jax.jit(made.adapt)(made.init(jax.random.key(0)), examples(3, 1), jax.random.key(5))
    wanted = 0.5 * np.prod(1 - 0.1 * 0.5 * cosine(6, 4))
    np.testing.assert_allclose(phi.learned["w"], wanted, rtol=1e-5)


def test_a_support_slice_given_four_times_teaches_as_it_does_once():
    made, one = ssm_sam(SHOWN, chunk=2, test_steps=3, test_rate=0.1), examples(3, 1)
    four = jax.tree.map(lambda a: jnp.repeat(a, 4, axis=0), one)
    adapt, meta = jax.jit(made.adapt), made.init(jax.random.key(0))
    once, again = (adapt(meta, given, jax.random.key(5)).learned["w"] for given in (one, four))
    np.testing.assert_allclose(once, again, rtol=1e-5)
    assert abs(once - meta.learned["theta"]["w"]) > 0.1


@pytest.mark.parametrize("prompt, count", [("support", 30), ("none", 0)])
def test_new_slices_are_asked_with_points_of_the_support_or_none(prompt, count):
    made = ssm_sam(SHOWN, chunk=2, test_steps=1, prompt=prompt, drawn=Drawn())
    phi = jax.jit(made.adapt)(made.init(jax.random.key(0)), examples(3, 1), jax.random.key(5))
    assert phi.points.shape == (1, count, 2)


def test_the_halo_on_the_grid_is_that_of_every_fourth_pixel_from_the_first():
    made = ssm_sam(SHOWN, chunk=2, test_steps=1)
    support = examples(3, 1)
    phi = jax.jit(made.adapt)(made.init(jax.random.key(0)), support, jax.random.key(5))
    np.testing.assert_allclose(phi.masks, halo(support.mask)[:, ::4, ::4], atol=1e-6)


def test_training_and_adaptation_leave_features_out_and_prediction_does_not():
    keys = []

    def watched(*told, key=None):
        keys.append(key is not None)
        return apply(*told)

    made = ssm_sam(SHOWN._replace(apply=watched), chunk=2, passes=1, test_steps=1)
    meta = made.init(jax.random.key(0))
    phi = jax.jit(made.adapt)(meta, examples(3, 1), jax.random.key(5))
    assert keys and all(keys)
    keys.clear()
    made.predict(meta, phi, examples(4, 2).image)
    assert keys and not any(keys)
    keys.clear()
    jax.jit(made.outer)(meta, TASK)
    assert any(keys)


def test_labels_of_the_query_do_not_reach_the_walk():
    made = ssm_sam(SHOWN, chunk=2, passes=2, rate=0.3)
    meta = made.init(jax.random.key(0))
    other = TASK._replace(query=TASK.query._replace(mask=1 - TASK.query.mask))
    one, two = (jax.jit(made.outer)(meta, task)[1] for task in (TASK, other))
    np.testing.assert_array_equal(one["inner_last"], two["inner_last"])
    assert one["loss"] != two["loss"]


def test_several_support_slices_answer_by_the_mean_of_their_probabilities():
    made = ssm_sam(SHOWN, chunk=2, test_steps=1)
    meta = made.init(jax.random.key(0))
    phi = jax.jit(made.adapt)(meta, examples(3, 2), jax.random.key(5))
    image = 3 * examples(4, 1).image

    def probability(phi):
        return jax.nn.sigmoid(made.predict(meta, phi, image))

    each = [
        probability(
            phi._replace(
                masks=phi.masks[k : k + 1], points=phi.points[k : k + 1], valid=phi.valid[k : k + 1]
            )
        )
        for k in range(2)
    ]
    np.testing.assert_allclose(probability(phi), (each[0] + each[1]) / 2, atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 0.01
    first = phi._replace(valid=jnp.array([True, False]))
    np.testing.assert_allclose(probability(first), each[0], atol=1e-5)
