"""Every convention against the values that the libraries themselves gave for the same masks.

MedPy 0.5.2, MONAI 1.5 and DeepMind's surface-distance, NumPy 2.4; tolerance 5e-5, as printed.
"""

import math

import numpy as np
import pytest

from jaxmeta.metrics import CONVENTIONS, measure
from jaxmeta.metrics.conventions import overlap_alone

NAN, INF = math.nan, math.inf


def box(*corner, side=10):
    mask = np.zeros((32, 32, 32), bool)
    mask[tuple(slice(at, at + side) for at in corner)] = True
    return mask


def plate(at):
    mask = np.zeros((32, 32, 32), bool)
    mask[at, 8:20, 8:20] = True
    return mask


CUBE, EMPTY, UNIT = box(8, 8, 8), np.zeros((32, 32, 32), bool), (1, 1, 1)
CASES = {
    "A shifted by 2": (np.roll(CUBE, 2, 0), CUBE, UNIT),
    "B shifted by 2, thick slices": (np.roll(CUBE, 2, 0), CUBE, (3, 1, 1)),
    "C a false cube of 27": (CUBE | box(26, 26, 26, side=3), CUBE, UNIT),
    "D a false cube of 64": (CUBE | box(26, 26, 26, side=4), CUBE, UNIT),
    "E two plates": (plate(9), plate(8), (5, 0.7, 0.7)),
    "F at the border": (box(2, 8, 8), box(0, 8, 8), UNIT),
    "G empty prediction": (EMPTY, CUBE, UNIT),
    "H both empty": (EMPTY, EMPTY, UNIT),
}
VOXEL = {  # HD95, ASSD, NSD at 1 mm
    "A": (2.0, 0.6885, 0.7213),
    "B": (6.0, 1.6967, 0.6475),
    "C": (5.456, 0.4505, 0.9741),
    "D": (18.4693, 0.9910, 0.9457),
    "E": (5.0, 5.0, 0.0),
    "F": (2.0, 0.6885, 0.7213),
    "G": (NAN, INF, 0.0),
    "H": (NAN, NAN, NAN),
}
POOLED = {  # HD95, ASSD
    "A": (2.0, 0.6885),
    "B": (6.0, 1.6967),
    "C": (0.0, 0.4505),
    "D": (16.4459, 0.9910),
    "E": (5.0, 5.0),
    "F": (2.0, 0.6885),
}
AREA = {  # HD95, from truth to prediction, back, NSD at 1 mm
    "A": (2.0, 0.6798, 0.6798, 0.7229),
    "B": (6.0, 1.0199, 1.0199, 0.7700),
    "C": (15.6525, 0.0, 1.1632, 0.9635),
    "D": (18.0278, 0.0, 2.1950, 0.9329),
    "E": (5.0, 2.5, 2.5, 0.5),
    "F": (2.0, 0.6798, 0.6798, 0.7229),
    "G": (INF, INF, NAN, 0.0),
    "H": (INF, NAN, NAN, NAN),
}
DICE = {"A": 0.8, "B": 0.8, "C": 0.9867, "D": 0.9690, "E": 0.0, "F": 0.8, "G": 0.0, "H": NAN}


def measured(case, convention):
    predicted, target, spacing = CASES[next(name for name in CASES if name[0] == case)]
    return measure(
        predicted, target, spacing=spacing, tolerance=1.0, convention=CONVENTIONS[convention]
    )


def same(values, golden):
    np.testing.assert_allclose(values, golden, rtol=0, atol=5e-5)


@pytest.mark.parametrize("case", VOXEL)
def test_monai(case):
    found = measured(case, "monai")
    same((found.hd95, found.assd, found.nsd), VOXEL[case])
    same(found.dice, DICE[case])


@pytest.mark.parametrize("case", POOLED)
def test_medpy(case):
    found = measured(case, "medpy")
    same((found.hd95, found.assd), POOLED[case])


@pytest.mark.parametrize("case", "GH")
def test_medpy_refuses_empty_masks(case):
    with pytest.raises(ValueError, match="empty; choose another policy"):
        measured(case, "medpy")
    predicted, target, spacing = CASES[next(name for name in CASES if name[0] == case)]
    lenient = CONVENTIONS["medpy"]._replace(empty=overlap_alone)
    found = measure(predicted, target, spacing=spacing, convention=lenient)
    assert math.isnan(found.nsd)  # which MedPy does not have, for a miss as little as for a hit


@pytest.mark.parametrize("case", AREA)
def test_deepmind(case):
    found = measured(case, "deepmind")
    same((found.hd95, found.asd_back, found.asd, found.nsd), AREA[case])
    same(found.dice, DICE[case])


@pytest.mark.parametrize("case", AREA)
def test_the_default_takes_distances_of_voxels_and_the_share_of_area(case):
    found, (hd95, assd, _), nsd = measured(case, "default"), VOXEL[case], AREA[case][-1]
    if case == "G":  # a miss is as far off as the volume is wide
        hd95 = assd = 32 * 3**0.5
    same((found.hd95, found.assd, found.nsd), (hd95, assd, nsd))
    same(found.dice, DICE[case])


def test_distances_in_voxels_are_asked_for_by_name():
    predicted, target, _ = CASES["B shifted by 2, thick slices"]
    assert measure(predicted, target, spacing="voxel").hd95 == 2.0


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, math.nan, 1), (1, math.inf, 1)])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(ValueError, match="spacing"):
        measure(CUBE, CUBE, spacing=spacing)


def test_masks_of_different_grids_are_refused():
    with pytest.raises(ValueError, match=r"shape \(32, 32, 32\), truth of \(32, 32, 31\)"):
        measure(CUBE, CUBE[:, :, 1:], spacing=(1, 1, 1))
