"""What an inner loop cannot be made of is refused in words, traced or not."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxmeta.algorithms import maml, maml_plus_plus
from jaxmeta.inner_loop.adapt import adapt
from jaxmeta.inner_loop.checks import check_differentiable
from jaxmeta.inner_loop.plan import whole_support
from jaxmeta.inner_loop.transforms import clip_norm, scale_by
from tests.helpers.small import LOSS, MODEL, small_task

SINGULAR = {
    "adam": optax.adam(0.1),
    "clipped adamw": optax.chain(clip_norm(1.0), optax.adamw(0.1)),
    "adam of the head": optax.masked(optax.adam(0.1), {"trunk": False, "head": True}),
}
SMOOTH = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.1, eps_root=1e-8),
    "clipped sgd": optax.chain(clip_norm(1.0), optax.sgd(0.1)),
    "rates of the head": optax.masked(scale_by(-0.1), {"trunk": False, "head": True}),
}


def walked(update=SMOOTH["sgd"], loss=LOSS, **options):
    support = small_task().support

    def after(phi):
        plan = whole_support(support, 2)
        options_ = dict(update=update, key=jax.random.key(1)) | options
        return adapt(loss, phi, support, plan, **options_)[0]

    return after


@pytest.mark.parametrize("name", SINGULAR)
def test_an_update_without_a_derivative_at_zero_is_refused_at_second_order(name):
    theta = MODEL.init(jax.random.key(0))
    with pytest.raises(ValueError, match="eps_root, for instance optax.adam.*or take order=1"):
        jax.jit(walked(SINGULAR[name]))(theta)
    jax.eval_shape(walked(SINGULAR[name], order=1), theta)


@pytest.mark.parametrize("name", SMOOTH)
def test_an_update_with_a_derivative_passes(name):
    check_differentiable(SMOOTH[name], MODEL.init(jax.random.key(0)))


@pytest.mark.parametrize("algorithm", [maml, maml_plus_plus])
def test_behind_learned_rates_too(algorithm):
    learned = dict(learn_rate=True) if algorithm is maml else {}
    made = algorithm(MODEL, LOSS, inner=optax.adam(1.0), **learned)
    with pytest.raises(ValueError, match="eps_root"):
        jax.jit(made.init)(jax.random.key(0))
    algorithm(MODEL, LOSS, inner=optax.adam(1.0), order=1, **learned).init(jax.random.key(0))


def test_a_rule_that_cannot_be_tried_passes():
    theta = MODEL.init(jax.random.key(0))
    shaped = scale_by(jax.tree.map(lambda p: jnp.full((7, *p.shape), 0.1), theta))
    check_differentiable(shaped, theta)
    rate = jax.tree.map(jnp.ones_like, theta)
    jax.jit(lambda a: check_differentiable(optax.chain(optax.adam(1.0), scale_by(a)), theta))(rate)


def test_a_loss_of_many_numbers_is_refused():
    def each_slice(phi, examples, key):
        return MODEL.apply(phi, examples.image)[0].mean((1, 2, 3))

    with pytest.raises(ValueError, match=r"inner loss has the shape \(3,\): it must be one number"):
        jax.jit(walked(loss=each_slice))(MODEL.init(jax.random.key(0)))


def test_integer_parameters_are_refused_by_name():
    theta = MODEL.init(jax.random.key(0)) | dict(seen=dict(steps=jnp.zeros((), jnp.int32)))
    with pytest.raises(ValueError, match=r"not seen/steps \(int32\)"):
        jax.jit(walked())(theta)


def test_a_part_that_is_not_there_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="no part .* is called 'tail': it has .*head, head/bias"):
        maml(MODEL, LOSS, trainable=("tail",)).init(jax.random.key(0))
