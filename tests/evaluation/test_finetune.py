"""The search that tunes baselines as hard as the method, on made-up score functions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.evaluation.finetune import (
    Finetune,
    around,
    edges,
    pass_by_pass,
    search,
    settings,
    widened,
)
from jaxmeta.methods.testing import GRIDS, Grid
from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples

SMALL = {"adam": Grid((1e-3, 3e-3, 1e-2), (20, 100, 300))}


def peak(rate, steps, optimizer="adam"):
    """Score highest at one setting, falling off with distance in log rate and log steps."""

    def score(setting):
        away = abs(math.log(setting.rate / rate)) + abs(math.log(setting.steps / steps))
        return -away - (setting.optimizer != optimizer)

    return score


def test_a_peak_inside_the_grid_is_found_in_one_round_and_not_flagged():
    found, grids = search({"scratch": peak(3e-3, 100)}, SMALL)
    assert found["scratch"].finetune == Finetune("adam", 3e-3, 100)
    assert found["scratch"].edges == ()
    assert grids == SMALL
    assert len(found["scratch"].scores) == 9


def test_a_winner_at_the_edge_widens_the_grid_until_it_is_inside():
    found, grids = search({"scratch": peak(3e-2, 100)}, SMALL)
    assert found["scratch"].finetune == Finetune("adam", 3e-2, 100)
    assert found["scratch"].edges == ()
    assert grids["adam"].rates == (1e-3, 3e-3, 1e-2, 3e-2, 9e-2)


def test_competitors_are_scored_on_equal_grids_though_one_alone_asks_for_more():
    found, _ = search({"scratch": peak(3e-2, 900), "transfer": peak(3e-3, 100)}, SMALL)
    assert found["scratch"].scores.keys() == found["transfer"].scores.keys()
    assert found["transfer"].finetune == Finetune("adam", 3e-3, 100)


def test_an_edge_that_no_round_could_leave_is_reported():
    found, _ = search({"scratch": peak(1e6, 100)}, SMALL, rounds=2)
    assert found["scratch"].edges == ("highest rate",)


def test_no_setting_is_scored_twice():
    seen = []

    def score(setting):
        seen.append(setting)
        return peak(3e-2, 900)(setting)

    search({"scratch": score}, SMALL)
    assert len(seen) == len(set(seen))


def test_the_optimizer_is_chosen_too():
    found, _ = search({"scratch": peak(0.1, 100, "sgd")}, GRIDS)
    assert found["scratch"].finetune == Finetune("sgd", 0.1, 100)
    assert len(settings(GRIDS)) == 24


def test_edges_name_all_sides_and_widening_adds_one_value_to_each():
    corner = Finetune("adam", 1e-3, 300)
    assert edges(corner, SMALL) == ("lowest rate", "most steps")
    wider = widened(SMALL, corner)
    assert wider == {"adam": Grid((3e-4, 1e-3, 3e-3, 1e-2), (20, 100, 300, 900))}
    assert edges(corner, wider) == ()


def test_one_step_is_as_few_as_there_are():
    grids = {"sgd": Grid((0.1, 0.3, 1.0), (1, 20))}
    assert edges(Finetune("sgd", 0.3, 1), grids) == ()


@pytest.mark.parametrize("rate", [1e-3, 3e-3, 1e-2, 0.1])
@pytest.mark.parametrize("steps", [5, 100, 900])
def test_every_neighbor_of_a_winner_was_tried_but_not_the_far_corner_of_a_wider_grid(rate, steps):
    found, grids = search({"scratch": peak(rate, steps)}, SMALL)
    winner, _, _, scores = found["scratch"]
    assert set(around(winner, grids)) <= set(scores)
    corner = Finetune("adam", grids["adam"].rates[0], grids["adam"].steps[-1])
    assert (corner in scores) == (corner in settings(SMALL) + around(winner, grids))


def test_around_a_corner_are_four_settings_and_around_the_middle_nine():
    assert len(around(Finetune("adam", 1e-3, 20), SMALL)) == 4
    assert len(around(Finetune("adam", 3e-3, 100), SMALL)) == 9


def test_steps_end_where_the_next_factor_would_cost_too_much_and_the_edge_is_reported():
    found, grids = search({"scratch": peak(3e-3, 1e5)}, SMALL)
    assert found["scratch"].finetune == Finetune("adam", 3e-3, 900)
    assert found["scratch"].edges == ("most steps",)
    assert grids["adam"].steps == (20, 100, 300, 900)


def test_steps_go_further_where_each_costs_less():
    found, grids = search({"scratch": peak(3e-3, 1e5)}, SMALL, most=4500)
    assert found["scratch"].finetune == Finetune("adam", 3e-3, 2700)
    assert grids["adam"].steps == (20, 100, 300, 900, 2700)


NUMBERS = np.array([1.0, 2.0, 4.0, 8.0], np.float32)


def passed(slope, key, epochs=3):
    """Walk over four slices, of which the last is not valid, down slope(phi, the slice's
    number)."""
    model = Model(lambda key: jnp.zeros(()), lambda phi, image, given: (image * phi, {}))
    image = np.broadcast_to(NUMBERS[:, None, None, None], (4, 2, 2, 1))
    support = Examples(image, np.zeros((4, 2, 2), np.uint8), np.array([True] * 3 + [False]))
    predictor = pass_by_pass(
        model, lambda phi, one, key: slope(phi, one.image.mean()), optax.sgd(1.0), epochs
    )(jnp.float32(0.1))
    return predictor.adapt((support, jnp.zeros(())), jax.random.key(key))


def test_each_pass_sees_every_valid_slice_once():
    found = passed(lambda phi, number: phi * number, 0)
    np.testing.assert_allclose(found, -0.1 * 3 * NUMBERS[:3].sum(), rtol=1e-6)


def test_passes_go_in_another_order_each():
    """Of (phi - n)^2 / 2 the last slices count most, so where the walk ends tells their order."""
    ends = {float(passed(lambda phi, n: (phi - n) ** 2 / 2, key, epochs=1)) for key in range(20)}
    assert len(ends) == 6  # orders of three slices
    for order in ((0, 1, 2), (2, 1, 0)):
        phi = 0.0
        for n in order:
            phi += 0.1 * (NUMBERS[n] - phi)
        assert any(abs(phi - end) < 1e-6 for end in ends)
