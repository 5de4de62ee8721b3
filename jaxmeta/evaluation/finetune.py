"""Plain training on labelled slices: what the baselines do, each with its own best setting.

A method is only as good as the baselines it is compared with, so these are tuned as hard as it is:
`search` scores a grid of optimizer x rate x steps on validation organs for all competitors alike,
and goes beyond it for all of them while anyone's winner lies at its edge.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmeta.inner_loop.adapt import descend
from jaxmeta.inner_loop.plan import Plan, whole_support
from jaxmeta.learners.learner import Predictor
from jaxmeta.methods.testing import GRIDS, Grid, Grids
from jaxmeta.models.model import Model
from jaxmeta.numerics import rank


class Finetune(NamedTuple):
    """A setting of fine-tuning: the optimizer's name, its rate, and how many steps (passes, if it
    goes slice by slice). Of a method's own rule the rate is a multiple of the one that it has."""

    optimizer: str
    rate: float
    steps: int


def finetuned(model: Model, loss: Callable, update: optax.GradientTransformation, steps: int):
    """Make the predictor that walks `steps` updates down the support from where a row begins.

    Its state is the rate (`update` is the optimizer at rate 1) and its support comes with the
    variables to begin from: all rates, and all that begin elsewhere, share one compilation.
    """

    def predictor(rate) -> Predictor:
        def adapt_to(begun, key):
            support, phi = begun
            plan = whole_support(support, steps)
            plan = plan._replace(rate=plan.rate * rate)
            return descend(loss, phi, support, plan, update=update, key=key)[0]

        return Predictor(adapt_to, applied(model))

    return predictor


def supervised(
    model: Model, loss: Callable, update: optax.GradientTransformation, steps: int, batch: int
):
    """Make the predictor trained as usual: random batches of many slices, the rate a cosine to 0.

    Given every labelled slice of the structure it is the upper bound of few-shot segmentation by
    the same network. Slices that are not valid are never drawn, so sets of different size may be
    padded (at the end).
    """

    def predictor(rate) -> Predictor:
        def adapt_to(begun, key):
            support, phi = begun
            walk, sample = jax.random.split(key)
            index = jax.random.randint(sample, (steps, batch), 0, support.valid.sum())
            factor = 0.5 * (1 + jnp.cos(jnp.pi * jnp.arange(steps) / steps))
            plan = Plan(index, rate * factor, np.ones(steps, bool))
            return descend(loss, phi, support, plan, update=update, key=walk)[0]

        return Predictor(adapt_to, applied(model))

    return predictor


def pass_by_pass(model: Model, loss: Callable, update: optax.GradientTransformation, epochs: int):
    """Make the predictor that passes over many slices `epochs` times, one a step, in an order drawn
    anew for each pass; slices that are not valid are skipped.

    So MetaMedSeg fine-tunes to, and trains its own baseline on, all slices that there are.
    """

    def predictor(rate) -> Predictor:
        def adapt_to(begun, key):
            support, phi = begun
            walk, sample = jax.random.split(key)
            shots = support.valid.shape[0]
            orders = jax.vmap(lambda key: jax.random.permutation(key, shots))
            index = orders(jax.random.split(sample, epochs)).ravel()
            plan = Plan(index[:, None], jnp.full(index.shape, rate), support.valid[index])
            return descend(loss, phi, support, plan, update=update, key=walk)[0]

        return Predictor(adapt_to, applied(model))

    return predictor


def applied(model: Model) -> Callable:
    """Predict with the model itself, of which phi are the variables."""
    return lambda phi, image, prompt=(): model.apply(phi, image, prompt)[0]


MOST_STEPS = 900  # of a widened grid, where nothing else is said


class Tuned(NamedTuple):
    """A row's fine-tuning and where it comes from; of a search the edges that it could not leave,
    and every score it saw."""

    finetune: Finetune
    source: str = ""
    edges: tuple[str, ...] = ()
    scores: Mapping[Finetune, float] = {}


def settings(grids: Grids) -> list[Finetune]:
    """List every setting of the grids."""
    return [
        Finetune(optimizer, rate, steps)
        for optimizer, grid in grids.items()
        for steps in grid.steps
        for rate in grid.rates
    ]


def edges(winner: Finetune, grids: Grids) -> tuple[str, ...]:
    """Name the sides of its grid on which a winner lies: better settings may be beyond them.

    What has one value only is given, not searched, and has no sides.
    """
    rates, steps = grids[winner.optimizer]
    sides = {
        "lowest rate": len(rates) > 1 and winner.rate == rates[0],
        "highest rate": len(rates) > 1 and winner.rate == rates[-1],
        "fewest steps": len(steps) > 1 and winner.steps == steps[0] > 1,
        "most steps": len(steps) > 1 and winner.steps == steps[-1],
    }
    return tuple(side for side, there in sides.items() if there)


def widened(grids: Grids, winner: Finetune, most: int = MOST_STEPS) -> Grids:
    """Add one value beyond each side on which the winner lies, a factor of about 3 further.

    Steps end at `most`: each factor costs as much again as all before it together.
    """
    rates, steps = map(list, grids[winner.optimizer])
    for side in edges(winner, grids):
        if side == "lowest rate":
            rates.insert(0, float(f"{rates[0] / 3:.1g}"))
        if side == "highest rate":
            rates.append(float(f"{rates[-1] * 3:.1g}"))
        if side == "fewest steps":
            steps.insert(0, max(1, steps[0] // 3))
        if side == "most steps" and steps[-1] * 3 <= most:
            steps.append(steps[-1] * 3)
    return {**grids, winner.optimizer: Grid(tuple(rates), tuple(steps))}


def around(winner: Finetune, grids: Grids) -> list[Finetune]:
    """List the settings of the winner's optimizer that are at most one rate and one step count
    off."""
    rates, steps = grids[winner.optimizer]

    def near(values, value):
        place = values.index(value)
        return values[max(0, place - 1) : place + 2]

    here = Grid(near(rates, winner.rate), near(steps, winner.steps))
    return settings({winner.optimizer: here})


def search(
    competitors: Mapping[str, Callable[[Finetune], float]],
    grids: Grids = GRIDS,
    *,
    rounds: int = 4,
    most: int = MOST_STEPS,
) -> tuple[dict[str, Tuned], Grids]:
    """Score the same settings for every competitor: the grids, then what lies around the winners.

    A winner at an edge widens its grid, and whatever neighbor of a winner was not tried yet is
    tried by all competitors alike, until winners have none. After `rounds` they stand, and edges
    that remain are reported with them, those of `most` steps too.
    """
    scores = {name: {} for name in competitors}
    asked = settings(grids)
    for left in reversed(range(rounds)):
        for setting in asked:
            for name, score in competitors.items():
                if setting not in scores[name]:
                    scores[name][setting] = score(setting)
        winners = {name: max(seen, key=lambda s: rank(seen[s])) for name, seen in scores.items()}
        if left:
            for winner in winners.values():
                grids = widened(grids, winner, most)
            asked = [setting for winner in winners.values() for setting in around(winner, grids)]
    found = {
        name: Tuned(winner, "", edges(winner, grids), scores[name])
        for name, winner in winners.items()
    }
    return found, grids
