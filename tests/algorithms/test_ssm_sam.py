"""SSM-SAM's optimization by hand, on a network of one number that shows what it is told."""

import inspect
import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.algorithms.algorithm import Meta
from jaxmeta.algorithms.ssm_sam import Drawn, Online, by_chunks, chunk_loss, cosine, ssm_sam
from jaxmeta.methods.ssm_sam.released import raw_colors, repeated_support, transposed_points
from jaxmeta.models.sam.adapters import Adapter, Prefix
from jaxmeta.models.sam.images import slices_as_colors
from jaxmeta.models.ssm_sam.blur import halo
from tests.helpers.one_number import SHOWN, TASK, apply, examples, large


@cache
def made_of(**options):
    """Compile what the published settings make of the network, once for all that ask for it."""
    made = ssm_sam(SHOWN, chunk=2, **options)
    return made, made.init(jax.random.key(0)), jax.jit(made.adapt), jax.jit(made.predict)


@cache
def outer_of(**options):
    return jax.jit(ssm_sam(SHOWN, chunk=2, **options).outer)


def adapted(count=1, **options):
    """Adapt to a few slices in one step online."""
    _, meta, adapt, _ = made_of(online=Online(1), **options)
    return adapt(meta, examples(3, count), jax.random.key(5))


def by_hand(w, rate, chunks_of, count, colors):
    """Give each chunk's loss as a function of w."""
    given = halo(chunks_of.prompt)[:, ::4, ::4]
    tokens = colors(chunks_of.image)

    def loss(w, chunk):
        at = slice(2 * chunk, 2 * chunk + 2)
        prefix = Prefix(tokens[at])
        logits = apply(None, {"w": w}, prefix, jnp.zeros((2, count, 2)), given[at])
        return chunk_loss(logits, chunks_of.mask[at], chunks_of.valid[at])

    return loss


def test_the_loss_is_cross_entropy_plus_one_minus_soft_iou_of_each_slice():
    """By hand: two pixels at probability 1/2, one of them of the structure; a second slice is
    padding."""
    logits, mask = jnp.zeros((2, 1, 2)), jnp.array([[[1, 0]], [[1, 1]]])
    found = chunk_loss(logits, mask, jnp.array([True, False]))
    np.testing.assert_allclose(found, np.log(2) + 1 - 0.5 / (1 + 1 - 0.5), rtol=1e-6)


def test_an_empty_truth_has_a_finite_loss_and_gradient_however_sure_the_network_is():
    """There sigmoids, or their squares, underflow; a slice that is not valid counts for nothing."""
    loss = jax.jit(jax.value_and_grad(chunk_loss))
    for logit in (-50.0, -89.0, -200.0):
        logits, empty = jnp.full((2, 8, 8), logit), jnp.zeros((2, 8, 8), jnp.uint8)
        value, slope = loss(logits, empty, jnp.array([True, False]))
        assert value == 1
        np.testing.assert_allclose(slope, 0, atol=1e-20)  # not NaN
        value, slope = loss(logits, empty, jnp.array([False, False]))
        assert value == 0 and (slope == 0).all()


def test_rates_fall_as_a_cosine_and_rise_again_beyond_its_period():
    assert cosine(30, 30)[0] == 1 and cosine(30, 30)[-1] < 0.01
    released = cosine(31, 20)  # 2e-4 at first, 1e-7 after 20 steps, and 0.84e-4 for the 30th
    assert released[20] * 2e-4 == pytest.approx(1e-7, rel=1e-3)
    assert released[29] * 2e-4 == pytest.approx(0.845e-4, rel=0.01)


def test_a_slice_is_shown_as_grey_in_the_encoder_s_colors():
    shown = slices_as_colors(jnp.array([-9.0, -2.0, 0.5, 3.0, 9.0])[None, :, None, None])
    wanted = (np.array([0, 0, 127.5, 255, 255]) - 123.675) / 58.395
    np.testing.assert_allclose(shown[0, :, 0, 0], wanted, rtol=1e-5)


def test_pictures_are_shown_as_they_are():
    image = jnp.linspace(0, 1, 8).reshape(1, 2, 4, 1)
    assert raw_colors(image).shape == (1, 2, 4, 3)
    np.testing.assert_array_equal(raw_colors(image)[..., 2], image[..., 0])


def test_each_step_sees_one_chunk():
    plan = by_chunks(examples(0, 6), 2, passes=2)
    assert plan.index.tolist() == 2 * [[0, 1], [2, 3], [4, 5]]
    assert plan.active.all()


@pytest.mark.parametrize(
    "order, learn_rate, colors",
    [
        (1, False, raw_colors),
        (1, True, slices_as_colors),
        (2, False, slices_as_colors),
        (2, True, raw_colors),
    ],
)
def test_the_direction_is_the_sum_over_query_chunks_at_where_the_walk_ended(
    order, learn_rate, colors
):
    made = ssm_sam(
        SHOWN, chunk=2, passes=2, rate=0.3, order=order, learn_rate=learn_rate, colors=colors
    )
    rates = {"w": jnp.array(0.7)} if learn_rate else ()
    meta = Meta(dict(theta={"w": jnp.array(0.5)}, rate=rates))
    assert made.init(jax.random.key(0)).learned["rate"] == ({"w": 0.3} if learn_rate else ())
    inner = by_hand(None, None, TASK.support, 20, colors)
    outer = by_hand(None, None, TASK.query, 5, colors)

    def walked(w, rate):
        for chunk in (0, 1, 0, 1):
            slope = jax.grad(inner)(w, chunk)
            w = w - rate * (jax.lax.stop_gradient(slope) if order == 1 else slope)
        return sum(outer(w, chunk) for chunk in range(3))

    meta_gradient, told = jax.jit(made.outer)(meta, TASK)
    loss, wanted = jax.jit(jax.value_and_grad(walked, (0, 1)))(0.5, 0.7 if learn_rate else 0.3)
    np.testing.assert_allclose(meta_gradient["theta"]["w"], wanted[0], rtol=1e-4)
    if learn_rate:
        np.testing.assert_allclose(meta_gradient["rate"]["w"], wanted[1], rtol=1e-4)
    np.testing.assert_allclose(told["loss"], loss / 3, rtol=1e-4)


def test_without_a_walk_what_comes_before_it_comes_after_it():
    _, meta, *_ = made_of()
    still, walked = (outer_of(passes=passes, rate=0.3)(meta, TASK)[1] for passes in (0, 1))
    assert "inner_last" not in still
    assert still["dice"] == still["dice_before"] == walked["dice_before"]


def test_a_chunk_without_a_valid_slice_moves_nothing():
    _, meta, *_ = made_of()
    more = examples(0, 4)._replace(valid=jnp.array([True, True, False, False]))
    fewer = jax.tree.map(lambda a: a[:2], more)
    one, two, all_valid = (
        outer_of(passes=1, rate=0.3)(meta, TASK._replace(support=support))[0]["theta"]["w"]
        for support in (more, fewer, examples(0, 4))
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)
    assert abs(one - all_valid) > 1e-3 * abs(one)


@pytest.mark.parametrize("first", [0, 1])
def test_what_is_not_kept_or_seen_few_at_a_time_is_the_same(monkeypatch, first):
    """Large slices are looked at in every step instead of once; blocks before the first adapter see
    some."""
    looked = []

    def encode(frozen, pixels):
        looked.append(pixels.shape[0])
        return Prefix(pixels)

    network = SHOWN._replace(adapter=Adapter((first,), None), encode=encode)
    made = ssm_sam(network, chunk=2, passes=1, rate=0.3)
    meta = made.init(jax.random.key(0))

    def meta_gradient():
        looked.clear()
        return jax.jit(lambda *given: made.outer(*given))(meta, TASK)[0]["theta"]["w"]

    usual = meta_gradient()
    assert max(looked) == (1 if first else 6)
    # The module's name in the package is that of the function.
    module = sys.modules["jaxmeta.algorithms.ssm_sam"]
    monkeypatch.setattr(module, "MOST_KEPT", 0)
    monkeypatch.setattr(module, "FEW", 3)
    np.testing.assert_allclose(meta_gradient(), usual, rtol=1e-5)
    assert max(looked) == (1 if first else 2)


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


def test_what_nobody_says_is_as_published():
    """By the code released with arXiv 2308.16466."""
    usual = {name: it.default for name, it in inspect.signature(ssm_sam).parameters.items()}
    assert usual.items() >= dict(
        passes=3, rate=1e-4, learn_rate=False, order=1, online=Online(30, 2e-4, 0.01, None),
        drawn=Drawn(inner=20, outer=5, online=3, asked=30),
        points_from="support",
    ).items()  # fmt: skip


@pytest.mark.parametrize("drawn, count", [(Drawn(), 3), (Drawn(7, 6, 4, 9), 4)])
def test_online_a_step_sees_as_many_points_as_are_drawn_online(drawn, count):
    counts = set()

    def watched(frozen, learned, prefix, points, mask, *, key=None):
        counts.add(points.shape[1])
        return apply(frozen, learned, prefix, points, mask)

    made = ssm_sam(SHOWN._replace(apply=watched), chunk=2, drawn=drawn)
    meta = made.init(jax.random.key(0))
    jax.eval_shape(made.adapt, meta, examples(3, 1), jax.random.key(5))
    assert counts == {count}


def test_walks_of_two_tasks_draw_other_points_and_leave_out_other_features():
    """The same task has the same again; its key alone differs in the other."""
    seen = []

    def watched(frozen, learned, prefix, points, mask, *, key=None):
        if points.shape[1] == 20:  # inside the walk
            drop = jax.random.key_data(key)
            jax.debug.callback(lambda *told: seen.append(told), points[0], drop)
        return apply(frozen, learned, prefix, points, mask)

    made = ssm_sam(SHOWN._replace(apply=watched), chunk=2, passes=1)
    outer, meta = jax.jit(made.outer), made.init(jax.random.key(0))
    other = TASK._replace(key=jnp.array([1, 3], jnp.uint32))

    def told(task):
        seen.clear()
        jax.block_until_ready(outer(meta, task))
        jax.effects_barrier()
        return [{np.asarray(each).tobytes() for each in part} for part in zip(*seen, strict=True)]

    for one, again, two in zip(told(TASK), told(TASK), told(other), strict=True):
        assert len(one) == len(two) == 2  # steps, each with its own
        assert one == again and not one & two


def test_online_a_network_without_gradient_only_decays_as_fast_as_the_cosine_of_its_period():
    still = SHOWN._replace(
        apply=lambda f, learned, prefix, points, mask, *, key=None: 0 * learned["w"] + large(mask)
    )
    made = ssm_sam(still, chunk=2, online=Online(6, 0.1, 0.5, period=4))
    phi = jax.jit(made.adapt)(made.init(jax.random.key(0)), examples(3, 1), jax.random.key(5))
    wanted = 0.5 * np.prod(1 - 0.1 * 0.5 * cosine(6, 4))
    np.testing.assert_allclose(phi.learned["w"], wanted, rtol=1e-5)


def test_a_support_slice_given_four_times_teaches_as_it_does_once():
    made, one = ssm_sam(SHOWN, chunk=2, online=Online(3, 0.1)), examples(3, 1)
    four = jax.tree.map(lambda a: jnp.repeat(a, 4, axis=0), one)
    adapt, meta = jax.jit(made.adapt), made.init(jax.random.key(0))
    once, again = (adapt(meta, given, jax.random.key(5)).learned["w"] for given in (one, four))
    np.testing.assert_allclose(once, again, rtol=1e-5)
    assert abs(once - meta.learned["theta"]["w"]) > 0.1


def test_one_support_slice_teaches_every_copy_of_what_is_learned():
    """Released: the slice is repeated, so that no copy stays behind; its halo is kept once."""

    def in_turn(frozen, learned, prefix, points, mask, *, key=None):
        own = learned["w"][jnp.arange(mask.shape[0]) % 2]
        return apply(frozen, {"w": own[:, None, None]}, prefix, points, mask)

    network = SHOWN._replace(apply=in_turn, init=lambda key: {"w": jnp.array([0.5, 0.7])})
    made = repeated_support(ssm_sam(network, chunk=2, online=Online(2, 0.1)), 2)
    meta = made.init(jax.random.key(0))
    phi = jax.jit(made.adapt)(meta, examples(3, 1), jax.random.key(5))
    assert (np.abs(phi.learned["w"] - meta.learned["theta"]["w"]) > 0.01).all()
    assert phi.masks.shape[0] == 1
    assert made.predict(meta, phi, examples(4, 3).image).shape == (3, 16, 16, 1)


def test_a_query_is_told_the_support_s_points_and_mask_or_clicks_of_its_own():
    _, meta, _, predict = made_of(online=Online(1))
    phi, image = adapted(), examples(4, 2).image
    plain = predict(meta, phi, image)
    assert phi.masks.shape == (1, 4, 4) and plain.shape == (2, 16, 16, 1)
    *_, clicked = made_of(points_from="clicks")
    other = phi._replace(masks=1 - phi.masks)
    for changed in (
        clicked(meta, phi, image, jnp.ones((2, 1, 2))),
        predict(meta, other, image),
    ):
        assert np.abs(changed - plain).max() > 0.1
    for asked, given in ((clicked, ()), (predict, jnp.ones((2, 1, 2)))):
        with pytest.raises(ValueError, match="clicks are given as the prompt, or are not"):
            asked(meta, phi, image, given)


def test_transposed_points_are_read_the_other_way_round():
    def tilted(frozen, learned, prefix, points, mask, *, key=None):
        return apply(frozen, learned, prefix, points, mask) + 0.1 * points[:, 0, :1, None]

    network = SHOWN._replace(apply=tilted)
    plain, other = (
        ssm_sam(of, chunk=2, online=Online(1), points_from="clicks")
        for of in (network, transposed_points(network))
    )
    meta, image = plain.init(jax.random.key(0)), examples(4, 2).image
    phi = jax.jit(plain.adapt)(meta, examples(3, 1), jax.random.key(5))
    clicks = jnp.tile(jnp.array([[[2.0, 9.0], [5.0, 1.0]]]), (2, 1, 1))
    predict, transposed = jax.jit(plain.predict), jax.jit(other.predict)
    swapped = transposed(meta, phi, image, clicks[..., ::-1])
    np.testing.assert_allclose(predict(meta, phi, image, clicks), swapped, atol=1e-6)
    assert np.abs(swapped - transposed(meta, phi, image, clicks)).min() > 0.5


@pytest.mark.parametrize("prompt, count", [("support", 30), ("none", 0)])
def test_new_slices_are_asked_with_points_of_the_support_or_none(prompt, count):
    phi = adapted() if prompt == "support" else adapted(points_from=prompt)
    assert phi.points.shape == (1, count, 2)


def test_the_halo_on_the_grid_is_that_of_every_fourth_pixel_from_the_first():
    wanted = jax.jit(halo)(examples(3, 1).mask)[:, ::4, ::4]
    np.testing.assert_allclose(adapted().masks, wanted, atol=1e-6)


def test_training_and_adaptation_leave_features_out_and_prediction_does_not():
    keys = []

    def watched(*told, key=None):
        keys.append(key is not None)
        return apply(*told)

    made = ssm_sam(SHOWN._replace(apply=watched), chunk=2, passes=1, online=Online(1))
    meta = made.init(jax.random.key(0))
    phi = jax.eval_shape(made.adapt, meta, examples(3, 1), jax.random.key(5))
    assert keys and all(keys)
    keys.clear()
    jax.eval_shape(made.predict, meta, phi, examples(4, 2).image)
    assert keys and not any(keys)
    keys.clear()
    jax.eval_shape(made.outer, meta, TASK)
    assert any(keys)


def test_labels_of_the_query_do_not_reach_the_walk():
    _, meta, *_ = made_of()
    other = TASK._replace(query=TASK.query._replace(mask=1 - TASK.query.mask))
    one, two = (outer_of(passes=1, rate=0.3)(meta, task)[1] for task in (TASK, other))
    np.testing.assert_array_equal(one["inner_last"], two["inner_last"])
    assert one["loss"] != two["loss"]


def test_several_support_slices_answer_by_the_mean_of_their_probabilities():
    _, meta, _, predict = made_of(online=Online(1))
    phi, image = adapted(2), 3 * examples(4, 1).image

    def probability(phi):
        return jax.nn.sigmoid(predict(meta, phi, image))

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
