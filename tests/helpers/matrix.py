"""The list of algorithms that `test_conformance` holds to one list of properties.

An algorithm is added with one line of `CASES`; `promptable` and `ssm_sam`, whose networks are
prompted, have tests of their own. What its meta-gradient must equal is its own: second order is the
finite difference of the whole, first order the finite difference with the inner updates held fixed,
Reptile is theta - phi, implicit MAML the finite difference of where a converged inner loop ends,
transfer, prototypes and the in-context reader the plain gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from jaxmeta.algorithms import (
    imaml,
    in_context,
    maml,
    maml_plus_plus,
    metamedseg,
    prototypes,
    reptile,
    scratch,
    transfer,
)
from jaxmeta.algorithms.algorithm import Algorithm
from jaxmeta.algorithms.maml_plus_plus import importance
from jaxmeta.inner_loop.adapt import adapt
from jaxmeta.inner_loop.linear_solvers import conjugate_gradient, neumann
from jaxmeta.inner_loop.plan import one_by_one, whole_support
from jaxmeta.models.layers import mean_pool
from jaxmeta.models.model import Model
from jaxmeta.models.reader import reader
from jaxmeta.numerics import typed_key
from tests.helpers.small import MODEL, small_model

STEPS, RATE = 2, 0.1
HEADS = small_model(classes=2)
ADAM = optax.adam(0.02, eps_root=1e-8)
TUNED = dict(optimizer=ADAM, steps=STEPS)
CONVERGED = dict(steps=400, strength=2.0, inner=optax.sgd(0.3))
MADE, ANNEAL = 1, 3  # where MAML++ is tested: a third of the way to the last step alone


def pixel_loss(model: Model) -> Callable:
    """Make a loss that compiles in no time: the cross-entropy of valid slices."""

    def loss(variables, examples, key):
        logits = model.apply(variables, examples.image, examples.prompt)[0][..., 0]
        each = (jax.nn.softplus(logits) - logits * examples.mask).mean((1, 2))
        return (each * examples.valid).sum() / examples.valid.sum()

    return loss


class Network(eqx.Module):
    """The network of `small_model`, as somebody who writes Equinox would have it."""

    trunk: eqx.nn.Conv2d
    head: eqx.nn.Linear

    def __init__(self, key, classes):
        trunk, head = jax.random.split(key)
        self.trunk = eqx.nn.Conv2d(1, 3, 3, padding=1, key=trunk)
        self.head = eqx.nn.Linear(3, classes, key=head)

    def __call__(self, image):
        features = jax.nn.softplus(self.trunk(image.transpose(2, 0, 1)))
        return jax.vmap(jax.vmap(self.head))(features.transpose(1, 2, 0))


def equinox_model(classes: int = 1) -> Model:
    """Make the pair of pure functions: the arrays of an Equinox module, and a call of the whole."""
    _, still = eqx.partition(Network(jax.random.key(0), classes), eqx.is_inexact_array)

    def init(key):
        return eqx.filter(Network(key, classes), eqx.is_inexact_array)

    def apply(variables, image, prompt=(), *, key=None, train=False):
        return jax.vmap(eqx.combine(variables, still))(image), ()

    return Model(init, apply)


EQUINOX = equinox_model()


class Case(NamedTuple):
    """An algorithm as `make(loss_of, **options)` makes it, and what it promises.

    `loss_of(model)` is a loss, as `pixel_loss` makes it.
    """

    make: Callable[..., Algorithm]
    # (case, learned, task) -> the function of what is learned that `outer` differentiates
    promised: Callable | None
    model: Model = MODEL
    has: tuple[str, ...] = ()  # of the options: order, memory, steps
    # (meta, variables made anew) -> those that its walk begins with
    start: Callable = lambda meta, fresh: meta.learned["theta"]
    inner_loop: bool = True  # False: a training step makes no walk


def of_the_whole(case, learned, task):
    """The query loss as a function of everything learned."""
    algorithm, loss = case.make(pixel_loss), pixel_loss(case.model)

    def query_loss(values):
        meta = algorithm.init(jax.random.key(0))._replace(learned=values)
        return loss(algorithm.adapt(meta, task.support, inner(task)), task.query, None)

    return query_loss


def of_every_step(case, learned, task):
    """The weighted sum of the query losses after 1, 2, .. steps, each walked on its own."""
    weights = importance(STEPS, jnp.asarray(MADE), ANNEAL)

    def query_loss(values):
        total = 0.0
        for count in range(1, STEPS + 1):
            shorter = case._replace(make=lambda of: case.make(of, test_steps=count))
            total += weights[count - 1] * of_the_whole(shorter, learned, task)(values)
        return total

    return query_loss


def with_updates_held(case, learned, task):
    """The query loss where phi = theta + rate * (a constant): what first order differentiates."""
    algorithm, loss = case.make(pixel_loss), pixel_loss(case.model)
    meta = algorithm.init(jax.random.key(0))._replace(learned=learned)
    phi = algorithm.adapt(meta, task.support, inner(task))
    theta, rates = learned["theta"], learned["rate"]
    moved = jax.tree.map(lambda a, b: a - b, phi, theta)
    per_rate = jax.tree.map(lambda d, r: d / r, moved, rates) if rates else moved

    def query_loss(values):
        step = jax.tree.map(lambda d, r: d * r, per_rate, values["rate"]) if rates else per_rate
        return loss(jax.tree.map(jnp.add, values["theta"], step), task.query, None)

    return query_loss


def where_it_ends(case, learned, task, plan=partial(whole_support, steps=STEPS)):
    """A linear function whose slope is theta - phi, phi from `adapt` itself."""
    phi, _ = adapt(
       pixel_loss(case.model), learned["theta"], task.support, plan(task.support),
       update=ADAM, key=inner(task), order=1,
   )  # fmt: skip
    gap = jax.tree.map(lambda a, b: a - b, learned["theta"], phi)
    return lambda values: optax.tree.vdot(values["theta"], gap)


def of_the_prediction(case, learned, task):
    """The query loss of what the algorithm predicts, once adapted."""
    algorithm = case.make(pixel_loss)

    def query_loss(values):
        meta = algorithm.init(jax.random.key(0))._replace(learned=values)
        phi = algorithm.adapt(meta, task.support, inner(task))
        logits = algorithm.predict(meta, phi, task.query.image)
        return pixel_loss(giving(logits))(values["theta"], task.query, None)

    return query_loss


def of_all_slices(case, learned, task):
    """The loss of the structure's own output on support and query together."""
    slices = jax.tree.map(lambda *a: jnp.concatenate(a), task.support, task.query)
    number = int(task.task_id[1])

    def slice_loss(values):
        logits, _ = HEADS.apply(values["theta"], slices.image)
        own = giving(logits[..., number][..., None])
        return pixel_loss(own)(values, slices, None)

    return slice_loss


def giving(logits):
    """Make a model that gives these logits, whatever it is asked."""
    return MODEL._replace(apply=lambda *a, **k: (logits, ()))


def small_reader():
    """Make a reader that compiles in no time, smooth for finite differences."""
    smooth = dict(activation=jax.nn.softplus, pool=mean_pool, groups=1)
    return reader((2, 4), heads=2, rounds=1, output_bias=0.0, **smooth)


def inner(task):
    """Give the key of the walk down the support's loss."""
    return jax.random.split(typed_key(task.key))[0]


def walking(model=MODEL, **fixed):
    """Make the `make` of MAML and its kin."""
    fixed = dict(steps=STEPS, rate=RATE) | fixed
    return lambda of, **options: maml(model, of(model), **fixed | options)


def plus_plus(of, **options):
    """Make MAML++."""
    return maml_plus_plus(MODEL, of(MODEL), **dict(steps=STEPS, rate=RATE, anneal=ANNEAL) | options)


def implicit(solve):
    """Make the `make` of implicit MAML."""
    return lambda of, **options: imaml(MODEL, of(MODEL), solve=solve, **CONVERGED | options)


BOTH = ("order", "memory")
FREE = dict(learn_rate=True)
PART = FREE | dict(trainable=("trunk", "head/bias"))
MILD = dict(rate=0.02, inner=optax.adam(1.0, eps_root=1e-4))
ENDS = dict(steps=STEPS, inner=ADAM)
EPOCHS = dict(epochs=STEPS, decay=0.5, every=1)
slices_in_turn = partial(where_it_ends, plan=partial(one_by_one, **EPOCHS))
CASES = {
    "maml": Case(walking(), of_the_whole, has=BOTH),
    "fomaml": Case(walking(order=1), with_updates_held),
    "meta-sgd": Case(walking(**FREE), of_the_whole, has=BOTH),
    "anil": Case(walking(trainable=("head",)), of_the_whole, has=BOTH),
    "maml++": Case(plus_plus, of_every_step, has=BOTH),
    "imaml": Case(implicit(conjugate_gradient(40)), of_the_whole, has=("steps",)),
    "reptile": Case(lambda of: reptile(MODEL, of(MODEL), **ENDS), where_it_ends),
    "metamedseg": Case(
        lambda of: metamedseg(MODEL, of(MODEL), inner=ADAM, **EPOCHS), slices_in_turn
    ),
    "prototypes": Case(lambda of: prototypes(small_model(4), of), of_the_prediction),
    "in-context": Case(lambda of: in_context(small_reader(), of), of_the_prediction),
    "transfer": Case(
        lambda of: transfer(MODEL, HEADS, of(MODEL), of, **TUNED),
        of_all_slices,
        start=lambda meta, fresh: {**meta.learned["theta"], "head": fresh["head"]},
        inner_loop=False,
    ),
    "scratch": Case(
        lambda of: scratch(MODEL, of(MODEL), **TUNED), None, start=lambda meta, fresh: fresh
    ),
}
VARIANTS = {
    "maml, adam inside": Case(walking(**MILD), of_the_whole, has=BOTH),
    "meta-sgd, first order": Case(walking(**FREE, order=1), with_updates_held),
    "meta-sgd of a subtree": Case(walking(**PART), of_the_whole, has=BOTH),
    "meta-sgd of equinox": Case(walking(EQUINOX, **FREE), of_the_whole, EQUINOX, BOTH),
    "anil of equinox": Case(walking(EQUINOX, trainable=("head",)), of_the_whole, EQUINOX, BOTH),
    "imaml, neumann": Case(implicit(neumann(200, 0.5)), of_the_whole, has=("steps",)),
    "reptile of equinox": Case(
        lambda of: reptile(EQUINOX, of(EQUINOX), **ENDS), where_it_ends, EQUINOX
    ),
    "prototypes of equinox": Case(
        lambda of: prototypes(equinox_model(4), of), of_the_prediction, EQUINOX
    ),
}
