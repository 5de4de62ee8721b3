"""Whole-volume evaluation with a model of two numbers, small enough to know every answer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.evaluation.finetune import finetuned, supervised
from jaxmeta.evaluation.scoring import score_volumes, support_set_keys, whole_volume
from jaxmeta.evaluation.segmenter import networks, together
from jaxmeta.evaluation.trial import Query, Support, Trial, places
from jaxmeta.evaluation.untrained import nearest_support_mask
from jaxmeta.learners.learner import Predictor
from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples
from tests.helpers import small

SIZE = 4


LINEAR = Model(None, lambda phi, image, prompt=(), **_: (phi["w"] * image + phi["b"], ()))


def still(state):
    """Begin at the state, whatever the support."""
    return Predictor(
        lambda support, key: state, lambda phi, image, prompt=(): LINEAR.apply(phi, image)[0]
    )


def square(phi, examples, key):
    logits = LINEAR.apply(phi, examples.image)[0][..., 0]
    error = (logits - examples.mask) ** 2
    return jnp.where(examples.valid[:, None, None], error, 0).mean()


def start():
    return {"w": jnp.float32(0.5), "b": jnp.float32(-0.25)}


def made_support(seed, shots=2, patient="a/1"):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(shots, SIZE, SIZE, 1)).astype(np.float32)
    mask = (image[..., 0] > 0.3).astype(np.uint8)
    place = np.linspace(0.2, 0.8, shots, dtype=np.float32)
    slices = tuple(f"{patient}:{n}" for n in range(shots))
    return Support(Examples(image, mask, np.ones(shots, bool)), place, (patient,), slices)


def made_query(seed, slices, patient):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(slices, SIZE, SIZE, 1)).astype(np.float32)
    return Query(
        patient, patient, image, image[..., 0] > 0.5, lambda p: p > 0.5, 0, (2.0, 1.0, 1.0)
    )


def tuned_row(predictor=None, rate=0.1, support_sets=2, name="tuned", weights=None):
    begin = networks(still, support_sets=support_sets)("no adaptation", weights or start())
    predictor = predictor or finetuned(LINEAR, square, optax.sgd(1.0), 3)
    return networks(predictor, support_sets=support_sets)(name, np.float32(rate), begin)


def test_fine_tuning_follows_the_same_path_as_a_python_loop():
    supports = [made_support(0), made_support(1)]
    row = tuned_row()
    phi = row.fit(together(supports), support_set_keys(2, 0)).phi
    for support_set, support in enumerate(supports):
        expected = start()
        for _ in range(3):
            gradient = jax.grad(lambda p, s=support: square(p, s.examples, None))
            expected = jax.tree.map(lambda p, g: p - 0.1 * g, expected, gradient(expected))
        mine = jax.tree.map(lambda a, support_set=support_set: a[support_set], phi)
        np.testing.assert_allclose(mine["w"], expected["w"], rtol=1e-5)
        np.testing.assert_allclose(mine["b"], expected["b"], rtol=1e-5)


def test_another_draw_in_the_same_call_changes_no_bit_of_this_one():
    row = tuned_row()
    keys = support_set_keys(2, 0)
    one = row.fit(together([made_support(0), made_support(1)]), keys).phi
    other = row.fit(together([made_support(0), made_support(2)]), keys).phi
    assert one["w"][0] == other["w"][0]
    assert one["w"][1] != other["w"][1]


@pytest.mark.parametrize("slices", [1, 3, 4, 7])
def test_chunks_and_their_padding_do_not_show(slices):
    row = tuned_row()
    fitted = row.fit(together([made_support(0), made_support(1)]), support_set_keys(2, 0))
    query, phi = made_query(5, slices, "a/9"), fitted.phi
    chunked = whole_volume(row, fitted, query.image, chunk=3)
    assert chunked.shape == (2, slices, SIZE, SIZE)
    for support_set in range(2):
        expected = 1 / (
            1 + np.exp(-(phi["w"][support_set] * query.image[..., 0] + phi["b"][support_set]))
        )
        np.testing.assert_allclose(chunked[support_set], expected, rtol=1e-5)


def test_volumes_of_any_length_other_rates_and_other_weights_trace_nothing_anew():
    traced = []

    def loss(*args):
        traced.append("loss")
        return square(*args)

    def apply(*args, **options):
        traced.append("predict")
        return LINEAR.apply(*args, **options)

    begin = networks(still, support_sets=2)
    make = networks(finetuned(Model(None, apply), loss, optax.sgd(1.0), 2), support_sets=2)
    first = make("first", np.float32(0.1), begin("zero", start()))
    list(score_volumes([first], made_trial([3, 8, 5]), chunk=4))
    before = len(traced)
    assert before
    other = jax.tree.map(lambda a: a + 1, start())
    second = make("second", np.float32(0.5), begin("zero", other))
    assert len(list(score_volumes([second], made_trial([9, 2]), chunk=4))) == 4
    assert len(traced) == before


def made_trial(lengths, supports=None):
    supports = supports or [made_support(0, patient="a/s"), made_support(1, patient="a/t")]
    queries = [made_query(seed, n, f"a/{seed}") for seed, n in enumerate(lengths)]
    return Trial("blob", "a", None, tuple(supports), tuple(lambda q=q: q for q in queries))


def test_a_volume_is_never_scored_under_its_own_patient_s_support():
    supports = [made_support(0, patient="a/1"), made_support(1, patient="a/7")]
    scores = [
        score for score, _, _ in score_volumes([tuned_row()], made_trial([2, 2, 2], supports))
    ]
    assert {(score.support_set, score.patient) for score in scores} == {
        (0, "a/0"),
        (0, "a/2"),
        (1, "a/0"),
        (1, "a/1"),
        (1, "a/2"),
    }


def test_the_score_is_that_of_the_mask_at_one_half():
    for score, query, mask in score_volumes([tuned_row()], made_trial([3])):
        both = 2 * (mask.astype(bool) & query.target).sum()
        assert score.dice == pytest.approx(both / (mask.sum() + query.target.sum()))


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ((0.1, 0.8), "llhhh"),
        ((0.0, 0.25), "lhh--"),  # the mean gap of .25 reaches up to .5
        ((0.5,), "lllll"),
    ],
)
def test_the_copied_mask_is_that_of_the_nearest_height_inside_the_labelled_stretch(
    heights, expected
):
    shots = len(heights)
    support = made_support(0, shots)._replace(place=np.array(heights, np.float32))
    row = nearest_support_mask("copied")
    fitted = row.fit(together([support]), support_set_keys(1, 0))
    image = np.zeros((5, SIZE, SIZE, 1), np.float32)
    probability = whole_volume(row, fitted, image, chunk=3)[0]
    masks = {"l": support.examples.mask[0], "h": support.examples.mask[-1]}
    masks["-"] = np.zeros((SIZE, SIZE))
    np.testing.assert_array_equal(probability, [masks[name] for name in expected])


def test_slices_lie_between_0_and_1_and_a_single_one_at_0():
    np.testing.assert_array_equal(places(3), np.array([0, 0.5, 1], np.float32))
    assert places(1).tolist() == [0]


def test_supervised_training_never_draws_a_slice_that_only_fills_the_shape():
    made = made_support(0, shots=4)
    poisoned = made.examples.image.copy()
    poisoned[2:] = np.nan
    valid = np.array([True, True, False, False])
    support = made._replace(examples=made.examples._replace(image=poisoned, valid=valid))
    trained = supervised(LINEAR, square, optax.sgd(1.0), steps=20, batch=3)
    phi = tuned_row(trained, support_sets=1).fit(together([support]), support_set_keys(1, 0)).phi
    assert np.isfinite(phi["w"]).all()
    assert phi["w"][0] != start()["w"]


def test_slices_that_only_fill_a_support_do_not_change_what_is_learned():
    make = networks(finetuned(small.MODEL, small.LOSS, optax.adam(1.0), 3), support_sets=1)
    weights = small.MODEL.init(jax.random.key(0))
    begin = networks(lambda state: Predictor(lambda *_: state, None), support_sets=1)(
        "begin", weights
    )
    row = make("tuned", np.float32(0.01), begin)
    support = made_support(0, shots=2)
    image, mask = support.examples[:2]
    filled = Examples(
        np.concatenate([image, 9 * np.ones_like(image)]),
        np.concatenate([mask, np.ones_like(mask)]),
        np.array([True, True, False, False]),
    )
    keys = support_set_keys(1, 0)
    bare = row.fit(together([support]), keys).phi
    more = row.fit(together([support._replace(examples=filled)]), keys).phi
    for one, other in zip(jax.tree.leaves(bare), jax.tree.leaves(more), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert np.abs(bare["head"]["bias"] - weights["head"]["bias"][None]).max() > 1e-3


def test_every_draw_of_every_organ_begins_with_a_key_of_its_own():
    keys = np.concatenate(
        [support_set_keys(3, seed, of) for seed in (0, 1) for of in ("a/x", "a/y")]
    )
    assert keys.shape == (12, 2) and len(np.unique(keys, axis=0)) == 12
    np.testing.assert_array_equal(support_set_keys(3, 0, "a/x"), keys[:3])
