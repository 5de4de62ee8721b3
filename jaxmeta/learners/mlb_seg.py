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
pass.

What the method is compared with is the same iteration with less in it (`Rule`): other weights,
fewer labels, no ensemble, no agreement of looks, no teacher; or nothing unlabelled, clean steps
alone."""

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
from jaxmeta.tasks.task import Examples, Task

# (parameters, state, image [N, S, S, 1], train=) -> (logits [N, S, S], state after)
Forward = Callable[..., tuple[Array, Any]]
LEAST = 1e-10  # of the weights' sum: without any positive one all are 0


class Bootstrapping(NamedTuple):
    """The state of the learner."""

    student: PyTree
    state: Any  # of the model: running statistics, frozen weights; () for most
    teacher: PyTree
    momentum: PyTree
    step: Integer[Array, ""]
    weightless: Integer[Array, ""]  # steps so far in which no pixel had a positive weight


class Rule(NamedTuple):
    """How a step is made; `rate(step)` gives its learning rate."""

    rate: Callable[[Integer[Array, ""]], Any]
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float = 0.2  # the largest norm of a gradient
    noise: float = 0.02  # standard deviation, of what the teacher sees
    decay: float = DECAY
    labels: tuple[str, ...] = ("initial", "pseudo")  # that the unlabelled are learned from
    weights: str = "meta"  # of their pixels: or "uniform", or "confidence", how sure a label is
    ensemble: bool = True  # pseudo labels are all looks' together; otherwise each look's own
    consistency: bool = True
    teacher: bool = True
    bootstraps: bool = True  # False: clean slices alone
    mirrors: bool = True  # one look is a mirror image; otherwise a second one from nearer
    published: bool = False  # zeros beyond looks count, consistency teaches one of each pair
    teacher_step: Callable[[Array], Array] = lambda step: step  # counts for the teacher's decay


class Seen(NamedTuple):
    """Slices as a step sees them: in five looks each, N = 5 B."""

    image: Float[Array, "N S S 1"]
    label: Float[Array, "N S S"]
    looks: Looks
    valid: Bool[Array, "B 5 S S"]  # pixels that show a part of the slice
    noise: Float[Array, "N S S 1"]  # of unit variance
    sure: Any = None  # [N, S, S] of the labels, where that weighs them


class Weighed(NamedTuple):
    """What a step on the unlabelled found, in their looks."""

    probability: Float[Array, "N S S"]
    labels: Float[Array, "N S S L"]  # of the rule's `labels`
    weight: Float[Array, "N S S L"]


def mlb_seg(
    forward: Forward,
    init: Callable[[Array], tuple[PyTree, Any]],
    rule: Rule,
    augment: Callable[[Task], Task] = lambda task: task,
) -> Learner:
    """Learn by bootstrapping; `init(key)` gives the parameters and the state to begin with, of
    student and teacher alike.

    Of each task of a batch the support are clean slices, the query unlabelled ones with initial
    labels as their masks, and how sure these are as their prompt [N, S, S, 1]. Tasks are one batch:
    all of their slices are seen together, and weights sum to 1 over them all.
    """

    def begin(key) -> Bootstrapping:
        student, state = init(key)
        nothing = jax.tree.map(jnp.zeros_like, student)
        counts = (jnp.zeros((), jnp.int32) for _ in range(2))
        # each is another array: what is donated to a step is given away once
        return Bootstrapping(student, state, jax.tree.map(jnp.copy, student), nothing, *counts)

    def both(batch: Task, first: Array, second: Array) -> tuple[Seen, Seen]:
        clean, unlabelled = (jax.tree.map(merged, each) for each in (batch.support, batch.query))
        return drawn(unlabelled, first, rule), drawn(clean, second, rule)

    def step(state: Bootstrapping, batch: Task) -> tuple[Bootstrapping, dict]:
        changing, first, second = jax.random.split(typed_key(batch.key[0]), 3)
        keys = jax.random.key_data(jax.random.split(changing, len(batch.key)))
        batch = jax.vmap(augment)(batch._replace(key=keys))
        state, scalars = iterate(forward, rule, state, *both(batch, first, second))
        index, structure = batch.task_id.T
        clean = dict(loss="clean_loss", grad_norm="clean_grad_norm")  # which must be finite too
        worst = {name: jnp.maximum(scalars[name], scalars[of]) for name, of in clean.items()}
        every = {name: jnp.full(len(index), value) for name, value in worst.items()}
        return state, dict(scalars=scalars, per_task=every | dict(index=index, structure=structure))

    def learned(state: Bootstrapping) -> PyTree:
        return dict(theta=state.student)

    def watch(state: Bootstrapping, batch: Task) -> dict[str, Array]:
        return watched(forward, rule, state, *both(batch, *jax.random.split(jax.random.key(0))))

    def predictor(state: Bootstrapping) -> Predictor:
        def predict(phi, image, prompt=()):
            student, running = phi
            return forward(student, running, image, train=False)[0][..., None]

        return Predictor(lambda support, key: (state.student, state.state), predict)

    return Learner(
        begin,
        step,
        predictor,
        learned,
        watch=watch if rule.bootstraps else None,
        beside=lambda state: state.state,
    )


def merged(leaf: Array) -> Array:
    """View [T, K, ...] as the slices of one batch."""
    return leaf.reshape(-1, *leaf.shape[2:])


def drawn(examples: Examples, key: Array, rule: Rule) -> Seen:
    """Draw looks at slices, and what disturbs the teacher's view of them."""
    looks_key, noise_key = jax.random.split(key)
    count, size = examples.image.shape[:2]
    given = draw_looks(looks_key, count, size, mirrors=rule.mirrors)
    noise = jax.random.normal(noise_key, (LOOKS * count, size, size, 1), examples.image.dtype)
    return seen(examples, given, noise, rule)


def seen(examples: Examples, given: Looks, noise: Array, rule: Rule) -> Seen:
    """See slices and their labels in these looks; beyond a slice all is as dark as its darkest
    pixel. As published it is 0, which is as dark in slices from 0 to 1."""
    darkest = examples.image[..., 0].min((1, 2))[:, None, None]
    darkest = 0 * darkest if rule.published else darkest
    image = look(given, examples.image[..., 0] - darkest) + darkest[:, None]
    label = look(given, examples.mask.astype(image.dtype)) > 0.5
    valid = jnp.ones(image.shape, bool) if rule.published else shown(given)
    sure = None
    if rule.weights == "confidence" and not isinstance(examples.prompt, tuple):
        sure = flat(look(given, examples.prompt[..., 0]))
    return Seen(flat(image)[..., None], flat(label).astype(image.dtype), given, valid, noise, sure)


def iterate(
    forward: Forward, rule: Rule, state: Bootstrapping, unlabelled: Seen, clean: Seen
) -> tuple[Bootstrapping, dict]:
    """Make one iteration: the student's step on the unlabelled, then the clean step."""
    rate, decay = rule.rate(state.step), decay_at(rule.teacher_step(state.step), rule.decay)
    scalars = {}
    if rule.bootstraps:
        state, scalars, _ = bootstrapped(forward, rule, rate, state, unlabelled, clean)
        state = state._replace(teacher=followed(state.teacher, state.student, decay))

    def objective(student):
        logits, after = forward(student, state.state, clean.image, train=True)
        told = taught(forward, rule, state.teacher, state.state, clean)
        entropy = valid_mean(cross_entropy(logits, clean.label), clean.valid)
        return entropy + regularization(logits, told, clean, rule)[0], after

    (value, running), gradient = jax.value_and_grad(objective, has_aux=True)(state.student)
    student, momentum = descended(state.student, state.momentum, gradient, rate, rule)
    teacher = followed(state.teacher, student, decay)
    norm = optax.tree.norm(gradient)
    if not rule.bootstraps:
        scalars = dict(loss=value, grad_norm=norm)
    after = Bootstrapping(student, running, teacher, momentum, state.step + 1, state.weightless)
    images = len(clean.image) + (len(unlabelled.image) if rule.bootstraps else 0)
    return after, scalars | dict(clean_loss=value, clean_grad_norm=norm, rate=rate, images=images)


def bootstrapped(
    forward: Forward, rule: Rule, rate: Any, state: Bootstrapping, unlabelled: Seen, clean: Seen
) -> tuple[Bootstrapping, dict, Weighed]:
    """Make the student's step on the unlabelled: their labels, a weight for each pixel of both."""
    student, running = state.student, state.state
    logits, push, moved = linearized(forward, student, running, unlabelled.image)
    pull = jax.linear_transpose(push, student)
    told = taught(forward, rule, state.teacher, running, unlabelled)
    (regular, parts), along = jax.value_and_grad(regularization, has_aux=True)(
        logits, told, unlabelled, rule
    )
    (gradient,) = pull(along)
    scalars = dict(loss=regular, **parts)
    weightless, probability = state.weightless, jax.nn.sigmoid(logits)
    labels = weight = jnp.zeros((*logits.shape, 0), logits.dtype)

    if rule.labels:
        labels, sure = labels_of(probability, unlabelled, rule)
        if rule.weights == "meta":
            unclipped = rule._replace(clip=jnp.inf)
            virtual, _ = descended(student, state.momentum, gradient, rate, unclipped)
            scalars["meta_loss"], direction = jax.value_and_grad(clean_cross_entropy)(
                virtual, forward, running, clean
            )
            kept = (probability[..., None] - labels) * push(direction)[..., None]
        else:
            kept = sure if rule.weights == "confidence" else jnp.ones_like(labels)
        weight = normalized(kept * flat(unlabelled.valid)[..., None])
        (weighted,) = pull((weight * (probability[..., None] - labels)).sum(-1))
        gradient = jax.tree.map(jnp.add, gradient, weighted)
        weightless += weight.sum() == 0
        scalars["loss"] += (weight * cross_entropy(logits[..., None], labels)).sum()
        scalars |= dict(weightless=weightless) | shares(weight, rule)

    student, momentum = descended(student, state.momentum, gradient, rate, rule)
    scalars["grad_norm"] = optax.tree.norm(gradient)
    after = state._replace(student=student, state=moved, momentum=momentum, weightless=weightless)
    return after, scalars, Weighed(probability, labels, weight)


def watched(
    forward: Forward, rule: Rule, state: Bootstrapping, unlabelled: Seen, clean: Seen
) -> dict[str, Array]:
    """Show the unlabelled slices as they are, with their labels and what each pixel of these
    weighs, N = B."""
    given = rule.rate(state.step), state, unlabelled, clean
    _, _, weighed = bootstrapped(forward, rule, *given)
    plain = {name: by_look(each)[:, 0] for name, each in weighed._asdict().items()}
    return plain | dict(image=by_look(unlabelled.image)[:, 0, ..., 0])


def labels_of(
    probability: Float[Array, "N S S"], at: Seen, rule: Rule
) -> tuple[Float[Array, "N S S L"], Float[Array, "N S S L"]]:
    """Give the labels of each pixel that it is learned from, and how sure they are."""
    mean = pseudo_probability(probability, at, rule)
    found = dict(
        initial=(at.label, jnp.ones_like(at.label) if at.sure is None else at.sure),
        pseudo=((mean > 0.5).astype(probability.dtype), jnp.abs(2 * mean - 1)),
    )
    labels, sure = zip(*(found[name] for name in rule.labels), strict=True)
    return jnp.stack(labels, axis=-1), jnp.stack(sure, axis=-1)


def shares(weight: Float[Array, "N S S L"], rule: Rule) -> dict:
    """Say how much of all weight each look has, and the initial labels."""
    looked = weight.reshape(-1, LOOKS, *weight.shape[1:]).sum((0, 2, 3))
    names = (*NAMES, "mirrored" if rule.mirrors else "nearer_too")
    of = {f"weight_{name}": looked[k].sum() for k, name in enumerate(names)}
    if "initial" in rule.labels:
        of["initial_share"] = looked[:, rule.labels.index("initial")].sum()
    return of


NAMES = ("original", "nearer", "farther", "farther_too")


def linearized(forward: Forward, student: PyTree, running: Any, image: Array):
    """Give the logits, their derivative along a direction of the parameters, and the state after.

    The derivative is linear, so that its transpose gives gradients without another forward pass.
    """
    logits, push, moved = jax.linearize(
        lambda student: forward(student, running, image, train=True), student, has_aux=True
    )
    return logits, push, moved


def taught(forward: Forward, rule: Rule, teacher: PyTree, running: Any, at: Seen) -> Any:
    """Give the teacher's probabilities of slices that are disturbed a little; None without one."""
    if not rule.teacher:
        return None
    logits, _ = forward(teacher, running, at.image + rule.noise * at.noise, train=True)
    return jax.lax.stop_gradient(jax.nn.sigmoid(logits))


def regularization(
    logits: Float[Array, "N S S"], told: Any, at: Seen, rule: Rule
) -> tuple[Array, dict]:
    """L_cons + L_ema, as far as the rule has them, and each."""
    probability, parts = jax.nn.sigmoid(logits), {}
    if rule.consistency:
        maps = by_look(probability)
        parts["consistency"] = pairwise(maps, at.looks, published=rule.published)
    if rule.teacher:
        parts["teaching"] = mean_square(by_look(probability - told), at.valid)
    return sum(parts.values(), jnp.zeros((), logits.dtype)), parts


def pseudo_probability(
    probability: Float[Array, "N S S"], at: Seen, rule: Rule
) -> Float[Array, "N S S"]:
    """Give each look what all say of a pixel, of those that come back to it the mean."""
    if not rule.ensemble:
        return probability
    back = look_back(at.looks, by_look(probability))
    known = jnp.ones(back.shape, bool) if rule.published else come_back(at.looks)
    mean = (back * known).sum(1) / known.sum(1)
    return flat(look(at.looks, mean))


def normalized(aligned: Float[Array, "N S S L"]) -> Float[Array, "N S S L"]:
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
    return maps.reshape(len(maps) // LOOKS, LOOKS, *maps.shape[1:])


def flat(maps: Array) -> Array:
    """View [B, 5, ...] as N = 5 B maps."""
    return maps.reshape(-1, *maps.shape[2:])
