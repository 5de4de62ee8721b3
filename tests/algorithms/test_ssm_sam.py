"""SSM-SAM's optimisation: chunks, first and second order, one support slice, and who may see what."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.sam.by_hand import begun
from models.sam.sizes import SMALL

from jaxmeta.algorithms.ssm_sam import as_pictures, by_chunks, chunk_loss, cosine, ssm_sam
from jaxmeta.models.sam import sam
from jaxmeta.models.sam.adapters import high_pass
from jaxmeta.models.sam.images import slices_as_colours
from jaxmeta.models.ssm_sam import self_sampling
from jaxmeta.over_tasks import over_tasks
from jaxmeta.tasks.task import Examples, Task

SIZE = SMALL._replace(width=4, depth=4, heads=1, whole=(0, 2), hidden=4)
NETWORK = self_sampling(SIZE, high_pass(SIZE, width=2), dropout=0.0)
CHUNK = 2


def algorithm(**how):
    return ssm_sam(NETWORK, chunk=CHUNK, passes=1, test_steps=2, **how)


LEARNER = algorithm()
OUTER, ADAPT, PREDICT = map(jax.jit, (LEARNER.outer, LEARNER.adapt, LEARNER.predict))


def examples(seed, count, told=True):
    rng = np.random.default_rng(seed)
    image = jnp.asarray(rng.normal(size=(count, 16, 16, 1)), jnp.float32)
    mask = jnp.asarray(rng.random((count, 16, 16)) > 0.7, jnp.uint8)
    lent = jnp.repeat(mask[::CHUNK], CHUNK, axis=0)[:count] if told else ()
    return Examples(image, mask, jnp.ones(count, bool), lent)


TASK = Task(examples(0, 4), examples(1, 2), jnp.array([1, 2], jnp.uint32), jnp.zeros(2, jnp.int32))


@pytest.fixture(scope="module")
def meta():
    return begun(LEARNER.init)._replace(backbone=begun(sam(SIZE).init))


def double(tree):
    return jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, tree)


def flat(tree):
    return np.concatenate([np.ravel(a) for a in jax.tree.leaves(tree)])


def test_the_loss_is_cross_entropy_plus_one_minus_soft_iou_of_each_slice():
    """By hand: two pixels at probability 1/2, one of them of the structure; a second slice is padding."""
    logits, mask = jnp.zeros((2, 1, 2)), jnp.array([[[1, 0]], [[1, 1]]])
    found = chunk_loss(logits, mask, jnp.array([True, False]))
    np.testing.assert_allclose(found, np.log(2) + 1 - 0.5 / (1 + 1 - 0.5), rtol=1e-6)


def test_rates_fall_as_a_cosine_and_rise_again_beyond_its_period():
    assert cosine(30, 30)[0] == 1 and cosine(30, 30)[-1] < 0.01
    released = cosine(31, 20)  # 2e-4 at first, 1e-7 after 20 steps, and 0.84e-4 for the 30th
    assert released[20] * 2e-4 == pytest.approx(1e-7, rel=1e-3)
    assert released[29] * 2e-4 == pytest.approx(0.845e-4, rel=0.01)


def test_a_slice_is_shown_as_grey_in_the_encoder_s_colours():
    shown = slices_as_colours(jnp.array([-9.0, -2.0, 0.5, 3.0, 9.0])[None, :, None, None])
    wanted = (np.array([0, 0, 127.5, 255, 255]) - 123.675) / 58.395
    np.testing.assert_allclose(shown[0, :, 0, 0], wanted, rtol=1e-5)


def test_each_step_sees_one_chunk():
    plan = by_chunks(examples(0, 6), 2, passes=2)
    assert plan.index.tolist() == 2 * [[0, 1], [2, 3], [4, 5]]
    assert plan.live.all()


@pytest.mark.slow
def test_without_a_walk_what_comes_before_it_comes_after_it(meta):
    still = jax.jit(ssm_sam(NETWORK, chunk=CHUNK, passes=0, test_steps=2).outer)(meta, TASK)[1]
    assert "inner_last" not in still
    assert still["dice"] == still["dice_before"]
    np.testing.assert_allclose(still["dice"], OUTER(meta, TASK)[1]["dice_before"], atol=1e-6)


@pytest.mark.slow
def test_a_chunk_without_a_valid_slice_moves_nothing(meta):
    more = examples(0, 4)._replace(valid=jnp.array([True, True, False, False]))
    fewer = jax.tree.map(lambda a: a[:CHUNK], more)
    outer = jax.jit(algorithm(rate=0.1).outer)
    one, two = (outer(meta, TASK._replace(support=support))[0] for support in (more, fewer))
    np.testing.assert_allclose(flat(one), flat(two), atol=1e-6)


@pytest.mark.slow
def test_at_rate_zero_both_orders_are_the_gradient_and_above_it_they_differ(meta):
    rates = jax.tree.map(jnp.ones_like, meta.learned["theta"])
    found = {}
    for order in (1, 2):
        outer = jax.jit(algorithm(order=order, learn_rate=True).outer)
        for rate in (0.0, 0.1):
            learned = meta.learned | {"rate": jax.tree.map(lambda a: rate * a, rates)}
            found[order, rate] = flat(outer(meta._replace(learned=learned), TASK)[0]["theta"])
    scale = np.abs(found[1, 0.0]).max()
    np.testing.assert_allclose(found[1, 0.0] / scale, found[2, 0.0] / scale, atol=1e-5)
    assert np.abs(found[1, 0.1] - found[2, 0.1]).max() > 1e-3 * scale


@pytest.mark.slow
def test_the_second_order_direction_equals_differences(meta, x64):
    """Along a random direction, in float64: the sum over chunks of the loss at the adapted parameters."""
    meta, task = double(meta), double(TASK)
    learner = algorithm(order=2, rate=0.05)
    rng = np.random.default_rng(0)
    along = jax.tree.map(lambda a: rng.normal(size=a.shape), meta.learned)
    outer = jax.jit(learner.outer)
    direction, told = outer(meta, task)

    def loss(t):
        learned = jax.tree.map(lambda a, d: a + t * d, meta.learned, along)
        return float(outer(meta._replace(learned=learned), task)[1]["loss"])

    slope = sum(
        float((g * d).sum())
        for g, d in zip(jax.tree.leaves(direction), jax.tree.leaves(along), strict=True)
    )
    h = 1e-6
    assert slope == pytest.approx((loss(h) - loss(-h)) / (2 * h), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("last", [None, 2])
def test_what_is_not_kept_or_seen_few_at_a_time_is_the_same(meta, monkeypatch, last):
    """Large slices are looked at in every step instead of once; blocks before the first adapter see some."""
    network = self_sampling(SIZE, high_pass(SIZE, width=2, last=last), dropout=0.0)
    own = begun(ssm_sam(network, chunk=CHUNK).init)._replace(backbone=meta.backbone)

    def direction():
        return flat(jax.jit(ssm_sam(network, chunk=CHUNK, passes=1).outer)(own, TASK)[0])

    usual = direction()
    module = sys.modules[
        "jaxmeta.algorithms.ssm_sam"
    ]  # whose name in the package is the function's
    monkeypatch.setattr(module, "MOST_KEPT", 0)
    monkeypatch.setattr(module, "FEW", 3)
    np.testing.assert_allclose(direction(), usual, atol=1e-5 * np.abs(usual).max())


@pytest.mark.slow
def test_one_support_slice_is_as_good_as_four_copies(meta, x64):
    """In float64: Adam turns rounding into steps where a gradient is all but 0."""
    meta, one = double(meta), double(examples(3, 1, told=False))
    four = jax.tree.map(lambda a: jnp.repeat(a, 4, axis=0), one)
    found = [ADAPT(meta, support, jax.random.key(5)) for support in (one, four)]
    np.testing.assert_allclose(flat(found[0].learned), flat(found[1].learned), atol=1e-8)
    moved = flat(found[0].learned) - flat(meta.learned["theta"])
    assert np.abs(moved).max() > 1e-4  # two steps of Adam at 2e-4


def test_a_query_is_told_the_support_s_points_and_mask_or_clicks_of_its_own(meta, x64):
    meta = double(meta)
    phi = ADAPT(meta, double(examples(3, 1, told=False)), jax.random.key(5))
    assert phi.masks.shape == (1, 4, 4) and phi.points.shape == (1, 30, 2)
    image = double(examples(4, 2, told=False).image)
    plain = PREDICT(meta, phi, image)
    assert plain.shape == (2, 16, 16, 1)
    clicks = jnp.tile(jnp.array([[[2.0, 3.0]]]), (2, 1, 1))
    other = phi._replace(masks=1 - phi.masks)
    clicked = jax.jit(algorithm(prompt="clicks").predict)(meta, phi, image, clicks)
    for changed in (clicked, PREDICT(meta, other, image)):
        assert np.abs(changed - plain).max() > 1e-5


@pytest.mark.slow
def test_transposed_points_are_read_the_other_way_round(meta):
    clicks = jnp.tile(jnp.array([[[2.0, 9.0], [5.0, 1.0]]]), (2, 1, 1))
    image, support = examples(4, 2, told=False).image, examples(3, 1, told=False)
    phi = jax.jit(algorithm(prompt="clicks").adapt)(meta, support, jax.random.key(5))
    plain, other = (
        jax.jit(algorithm(prompt="clicks", transposed=which).predict) for which in (False, True)
    )
    swapped = other(meta, phi, image, clicks[..., ::-1])
    np.testing.assert_allclose(plain(meta, phi, image, clicks), swapped, atol=1e-6)
    assert np.abs(swapped - other(meta, phi, image, clicks)).max() > 1e-5


def test_pictures_are_shown_as_they_are():
    image = jnp.linspace(0, 1, 8).reshape(1, 2, 4, 1)
    assert as_pictures(image).shape == (1, 2, 4, 3)
    np.testing.assert_array_equal(as_pictures(image)[..., 2], image[..., 0])


@pytest.mark.slow
def test_one_support_slice_teaches_every_copy_of_the_learned_queries(meta):
    """Released: the slice is repeated, so that no copy stays behind; its halo is kept once."""
    network = self_sampling(SIZE, high_pass(SIZE, width=2), dropout=0.0, copies=2)
    learner = ssm_sam(network, chunk=CHUNK, passes=1, test_steps=2, copies=2)
    start = begun(learner.init)._replace(backbone=meta.backbone)
    phi = jax.jit(learner.adapt)(start, examples(3, 1, told=False), jax.random.key(5))
    before, after = (
        tree["sampler"]["layers_0"]["learned"] for tree in (start.learned["theta"], phi.learned)
    )
    assert (np.abs(after - before).max((1, 2)) > 1e-5).all() and before.shape[0] == 2
    assert phi.masks.shape[0] == 1
    assert learner.predict(start, phi, examples(4, 3, told=False).image).shape == (3, 16, 16, 1)


@pytest.mark.slow
def test_under_vmap_over_organs_the_frozen_weights_exist_once():
    """Of a wide encoder of four tokens a step over four organs holds no second copy."""
    wide = SIZE._replace(width=192, image=8, window=2)
    learner = ssm_sam(self_sampling(wide, high_pass(wide, width=2), dropout=0.0), chunk=CHUNK)
    shapes = jax.eval_shape(sam(wide).init, jax.random.key(0))["image_encoder"]
    meta = jax.eval_shape(learner.init, jax.random.key(0))
    meta = meta._replace(backbone={"image_encoder": shapes})
    frozen = sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes))
    small = jax.tree.map(lambda a: a[:, :8, :8] if a.ndim > 2 else a, TASK)

    def needs(count):
        tasks = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (count, *a.shape)), small)
        mapped = jax.jit(over_tasks(learner.outer, chunk=count))
        memory = mapped.lower(meta, tasks).compile().memory_analysis()
        return memory.argument_size_in_bytes, memory.temp_size_in_bytes

    (one, room), (four, more) = needs(1), needs(4)
    assert one > frozen  # they are an argument, and no constant
    assert four - one < 0.1 * frozen and more - room < frozen
