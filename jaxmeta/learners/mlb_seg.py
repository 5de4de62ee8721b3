"""MLB-Seg: learning from labels that may be wrong, a meta-learned weight for each of their pixels.

Wei et al. 2023 (arXiv 2307.11604). A batch holds slices with initial labels y^n, made by a network
trained on a few labelled patients, and clean slices of these patients. Each slice has five looks
(`augmentation/variants.py`); p are the student's probabilities of a look, R its regularization: to
agree between looks (L_cons) and with a mean teacher (L_ema).

    y^p   = T_k(mean of T_k^-1 p_k) > 1/2                       pseudo labels of the ensemble
    theta' = theta - eta (mu m + grad R + lambda theta)         the virtual step, no weight yet
    v     = grad of the clean loss at theta'
    w     = max(0, <grad of a pixel's cross-entropy at theta, v>), to sum to 1 over all pixels
    theta <- a step of  sum(w^n CE(p, y^n) + w^p CE(p, y^p)) + R,  then one of the clean loss

A pixel counts as far as learning its label would have lowered the clean loss. Weights enter the
virtual step linearly, so the derivative by all of them is one derivative of the pixels' losses
along v, forward: no gradient of a gradient. With z the logits, d CE / d z = p - y, so

    w ~ (p - y) * (d z along v)

and the student is linearized once: its own step, the virtual one and the weights share a forward
pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Integer, PyTree

from jaxmeta.augmentation.variants import (
    LOOKS,
    Looks,
    come_back,
    draw_looks,
    look,
    look_back,
    shown,
)
from jaxmeta.learners.learner import Learner, Predictor
from jaxmeta.learners.teacher import DECAY, decay_at, followed
from jaxmeta.losses.consistency import mean_square, pairwise
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Examples

# (parameters, state, image [N, S, S, 1], train=) -> (logits [N, S, S], state after)
Forward = Callable[..., tuple[Array, Any]]
LEAST = 1e-10  # of the weights' sum: without any positive one all are 0


class Bootstrapping(NamedTuple):
    """The state of the learner."""

    student: PyTree
    state: Any  # running statistics, () for most networks
    teacher: PyTree
    momentum: PyTree
    step: Integer[Array, ""]


class Mixed(NamedTuple):
    """A batch: slices with initial labels as their masks, clean ones, and a raw key [2]."""

    unlabelled: Examples
    clean: Examples
    key: Any


class Rule(NamedTuple):
    """How a step is made; `rate(step)` gives its learning rate."""

    rate: Callable[[Integer[Array, ""]], Any]
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float = 0.2  # the largest norm of a gradient
    noise: float = 0.02  # standard deviation, of what the teacher sees
    decay: float = DECAY
    published: bool = False  # zeros beyond looks count, consistency teaches one of each pair
    teacher_step: Callable[[Array], Array] = lambda step: step  # counts for the teacher's decay


class Seen(NamedTuple):
    """Slices as a step sees them: in five looks each, N = 5 B."""

    image: Float[Array, "N S S 1"]
    label: Float[Array, "N S S"]
    looks: Looks
    valid: Bool[Array, "B 5 S S"]  # pixels that show a part of the slice
    noise: Float[Array, "N S S 1"]  # of unit variance


def mlb_seg(forward: Forward, init: Callable[[Array], tuple[PyTree, Any]], rule: Rule) -> Learner:
    """Learn by bootstrapping; `init(key)` gives the parameters and the state to begin with, of
    student and teacher alike."""

    def begin(key) -> Bootstrapping:
        student, state = init(key)
        nothing = jax.tree.map(jnp.zeros_like, student)
        return Bootstrapping(student, state, student, nothing, jnp.zeros((), jnp.int32))

    def step(state: Bootstrapping, batch: Mixed) -> tuple[Bootstrapping, dict]:
        first, second = jax.random.split(typed_key(batch.key))
        unlabelled, clean = drawn(batch.unlabelled, first, rule), drawn(batch.clean, second, rule)
        return iterate(forward, rule, state, unlabelled, clean)

    def predictor(state: Bootstrapping) -> Predictor:
        def predict(phi, image, prompt=()):
            student, running = phi
            return forward(student, running, image, train=False)[0][..., None]

        return Predictor(lambda support, key: (state.student, state.state), predict)

    return Learner(begin, step, predictor)


def drawn(examples: Examples, key: Array, rule: Rule) -> Seen:
    """Draw looks at slices, and what disturbs the teacher's view of them."""
    looks_key, noise_key = jax.random.split(key)
    count, size = examples.image.shape[:2]
    given = draw_looks(looks_key, count, size)
    noise = jax.random.normal(noise_key, (LOOKS * count, size, size, 1), examples.image.dtype)
    return seen(examples, given, noise, rule)


def seen(examples: Examples, given: Looks, noise: Array, rule: Rule) -> Seen:
    """See slices and their labels in these looks."""
    image = look(given, examples.image[..., 0])
    label = look(given, examples.mask.astype(image.dtype)) > 0.5
    valid = jnp.ones(image.shape, bool) if rule.published else shown(given)
    return Seen(flat(image)[..., None], flat(label).astype(image.dtype), given, valid, noise)


def iterate(
    forward: Forward, rule: Rule, state: Bootstrapping, unlabelled: Seen, clean: Seen
) -> tuple[Bootstrapping, dict]:
    """Make one iteration: weights by a virtual step, the student's step, the clean step."""
    rate, decay = rule.rate(state.step), decay_at(rule.teacher_step(state.step), rule.decay)
    student, running, teacher, momentum, count = state

    logits, push, moved = linearized(forward, student, running, unlabelled.image)
    pull = jax.linear_transpose(push, student)
    told = taught(forward, rule, teacher, running, unlabelled)
    (regular, parts), along = jax.value_and_grad(regularization, has_aux=True)(
        logits, told, unlabelled, rule
    )
    (steady,) = pull(along)

    unclipped = rule._replace(clip=jnp.inf)
    virtual, _ = descended(student, momentum, steady, rate, unclipped)
    clean_loss, direction = jax.value_and_grad(clean_cross_entropy)(
        virtual, forward, running, clean
    )
    probability = jax.nn.sigmoid(logits)
    labels = jnp.stack([unlabelled.label, pseudo_label(probability, unlabelled, rule)], axis=-1)
    aligned = (probability[..., None] - labels) * push(direction)[..., None]
    weight = normalized(aligned * flat(unlabelled.valid)[..., None])

    pixels = cross_entropy(logits[..., None], labels)
    (weighted,) = pull((weight * (probability[..., None] - labels)).sum(-1))
    gradient = jax.tree.map(jnp.add, steady, weighted)
    student, momentum = descended(student, momentum, gradient, rate, rule)
    teacher = followed(teacher, student, decay)

    def clean_objective(student):
        logits, after = forward(student, moved, clean.image, train=True)
        told = taught(forward, rule, teacher, moved, clean)
        entropy = valid_mean(cross_entropy(logits, clean.label), clean.valid)
        return entropy + regularization(logits, told, clean, rule)[0], after

    (final, moved), clean_gradient = jax.value_and_grad(clean_objective, has_aux=True)(student)
    student, momentum = descended(student, momentum, clean_gradient, rate, rule)
    teacher = followed(teacher, student, decay)

    looked = weight.reshape(-1, LOOKS, *weight.shape[1:]).sum((0, 2, 3))
    scalars = dict(
        loss=(weight * pixels).sum() + regular,
        meta_loss=clean_loss,
        clean_loss=final,
        **parts,
        grad_norm=optax.tree.norm(gradient),
        weightless=(weight.sum() == 0).astype(jnp.float32),
        initial_share=looked[:, 0].sum(),
        **{f"weight_{name}": looked[k].sum() for k, name in enumerate(NAMES)},
    )
    after = Bootstrapping(student, moved, teacher, momentum, count + 1)
    return after, dict(scalars=scalars, per_task={})


NAMES = ("original", "nearer", "farther", "farther_too", "mirrored")


def linearized(forward: Forward, student: PyTree, running: Any, image: Array):
    """Give the logits, their derivative along a direction of the parameters, and the state after.

    The derivative is linear, so that its transpose gives gradients without another forward pass.
    """
    logits, push, moved = jax.linearize(
        lambda student: forward(student, running, image, train=True), student, has_aux=True
    )
    return logits, push, moved


def taught(forward: Forward, rule: Rule, teacher: PyTree, running: Any, at: Seen) -> Array:
    """Give the teacher's probabilities of slices that are disturbed a little."""
    logits, _ = forward(teacher, running, at.image + rule.noise * at.noise, train=True)
    return jax.lax.stop_gradient(jax.nn.sigmoid(logits))


def regularization(
    logits: Float[Array, "N S S"], told: Float[Array, "N S S"], at: Seen, rule: Rule
) -> tuple[Array, dict]:
    """L_cons + L_ema, and both."""
    probability = jax.nn.sigmoid(logits)
    consistency = pairwise(by_look(probability), at.looks, published=rule.published)
    teaching = mean_square(by_look(probability - told), at.valid)
    return consistency + teaching, dict(consistency=consistency, teaching=teaching)


def pseudo_label(probability: Float[Array, "N S S"], at: Seen, rule: Rule) -> Float[Array, "N S S"]:
    """Label each look by the mean of what all say of a pixel; by those that come back to it."""
    back = look_back(at.looks, by_look(probability))
    known = jnp.ones(back.shape, bool) if rule.published else come_back(at.looks)
    mean = (back * known).sum(1) / known.sum(1)
    return flat(look(at.looks, mean) > 0.5).astype(probability.dtype)


def normalized(aligned: Float[Array, "N S S 2"]) -> Float[Array, "N S S 2"]:
    """Keep what is aligned with the clean loss, and let it sum to 1; or all be 0."""
    kept = jnp.maximum(aligned, 0)
    return kept / jnp.maximum(kept.sum(), LEAST)


def clean_cross_entropy(student: PyTree, forward: Forward, running: Any, at: Seen) -> Array:
    """Take the mean cross-entropy of clean slices; running statistics stay as they are."""
    logits, _ = forward(student, running, at.image, train=True)
    return valid_mean(cross_entropy(logits, at.label), at.valid)


def cross_entropy(logits: Float[Array, "*n"], label: Float[Array, "*m"]) -> Float[Array, "*m"]:
    """Take the binary cross-entropy of each pixel."""
    return jax.nn.softplus(logits) - logits * label


def valid_mean(pixels: Float[Array, "N S S"], valid: Bool[Array, "B 5 S S"]) -> Float[Array, ""]:
    """Take the mean over pixels that show a part of a slice."""
    kept = flat(valid).astype(pixels.dtype)
    return (pixels * kept).sum() / kept.sum()


def descended(
    student: PyTree, momentum: PyTree, gradient: PyTree, rate: Any, rule: Rule
) -> tuple[PyTree, PyTree]:
    """Make a step of SGD with momentum; clipped first, then decayed, as PyTorch does."""
    factor = jnp.minimum(1.0, rule.clip / (optax.tree.norm(gradient) + 1e-6))
    momentum = jax.tree.map(
        lambda m, g, p: rule.momentum * m + factor * g + rule.weight_decay * p,
        momentum,
        gradient,
        student,
    )
    return jax.tree.map(lambda p, m: p - rate * m, student, momentum), momentum


def by_look(maps: Array) -> Array:
    """View N = 5 B maps as [B, 5, ...]."""
    return maps.reshape(-1, LOOKS, *maps.shape[1:])


def flat(maps: Array) -> Array:
    """View [B, 5, ...] as N = 5 B maps."""
    return maps.reshape(-1, *maps.shape[2:])
