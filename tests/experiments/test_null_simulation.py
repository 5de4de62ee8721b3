"""How often the interval of reports holds the truth: 95 % is no promise that only normal theory
keeps."""

import numpy as np
import pytest

from experiments.studies.null_simulation import (
    DESIGNS,
    FOUR,
    LEAST,
    cases_of,
    coverage,
    drawn,
    levels_of,
)
from jaxmeta.evaluation.comparison import difference, organs
from jaxmeta.evaluation.intervals import half_width
from jaxmeta.evaluation.variance import estimate

SAMPLES = 4000
# Three standard errors of a share of .93 of so many.
CHANCE = 3 * (LEAST * (1 - LEAST) / SAMPLES) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_the_interval_holds_the_truth_as_often_as_it_says(design):
    found = coverage(design, SAMPLES)
    assert found.held >= LEAST - CHANCE
    assert found.alarms == pytest.approx(1 - found.held) or design.mean


def test_two_supports_of_an_organ_are_enough_for_an_honest_interval():
    """The percentile bootstrap has .60 here."""
    (design,) = [each for each in DESIGNS if each.name == "1 organ x 2 supports"]
    assert coverage(design, 1000).held > 0.93
    assert coverage(design, 500, old=True).held < 0.75


def test_what_is_simulated_is_what_reports_show():
    design = FOUR._replace(name="", supports=2, patients=5)
    cases = cases_of(design)
    (values,) = drawn(design, cases, 1, np.random.default_rng(0)).T
    ours = [case._replace(dice=0.5 + value) for case, value in zip(cases, values, strict=True)]
    found = difference(ours, [case._replace(row="b", dice=0.5) for case in cases])
    told = estimate(values[:, None], organs(cases), levels_of(design, cases))
    assert found.high - found.mean == pytest.approx(half_width(told, 0.05)[0])


def test_effects_have_the_deviations_that_a_design_names():
    design = FOUR._replace(shape="dice", patient=0.0, patient_organ=0.0, support=0.3, residual=0.0)
    cases = cases_of(design)
    values = drawn(design, cases, 4000, np.random.default_rng(0))
    assert values.std() == pytest.approx(0.3, rel=0.03)
    assert values.mean() == pytest.approx(0, abs=0.01)
    same = [n for n, case in enumerate(cases) if (case.organ, case.support_set) == ("organ 0.0", 1)]
    assert np.ptp(values[same], axis=0).max() == 0
