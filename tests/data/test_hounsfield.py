"""A CT in other units than HU is refused, with a way out; one in HU never is, whatever it shows."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.data.intensity import CT, measure_intensity
from jaxmeta.errors import Unseen
from jaxmeta.phantoms.scans import ct

WINDOW = CT[1] - CT[0]
UNITS = {  # how a CT is stored -> the numbers in its file
    "offset 1024": lambda hu: hu + 1024,
    "offset 1024 from 0": lambda hu: (hu + 1024).clip(0),
    "offset 1000": lambda hu: hu + 1000,
    "offset -1024": lambda hu: hu - 1024,
    "offset 8192": lambda hu: hu + 8192,
    "offset 32768": lambda hu: hu + 32768,
    "0 to 1": lambda hu: (hu - hu.min()) / np.ptp(hu),
    "0 to 1 of a window": lambda hu: ((hu - CT.low) / WINDOW).clip(0, 1),
    "-1 to 1": lambda hu: 2 * (hu - hu.min()) / np.ptp(hu) - 1,
    "z-score": lambda hu: (hu - hu.mean()) / hu.std(),
    "0 to 255": lambda hu: np.round(255 * (hu - hu.min()) / np.ptp(hu)),
    "0 to 255 of a window": lambda hu: np.round(255 * ((hu - CT.low) / WINDOW).clip(0, 1)),
    "0 to 65535 of a window": lambda hu: np.round(65535 * ((hu - CT.low) / WINDOW).clip(0, 1)),
}


def scan(parts: dict[str, int], seed: int) -> np.ndarray:
    """Draw a CT in HU from dozens of voxels of each matter."""
    rng = np.random.default_rng(seed)
    matter = {
        "air": lambda n: rng.normal(-1000, 15, n).clip(-1024),
        "lung": lambda n: rng.normal(-830, 70, n),
        "fat": lambda n: rng.normal(-100, 15, n),
        "soft": lambda n: rng.normal(50, 20, n),
        "contrast": lambda n: rng.normal(250, 60, n),
        "bone": lambda n: 150 + rng.exponential(350, n),
    }
    return np.concatenate([matter[kind](40 * n) for kind, n in parts.items()])


def bodies(most):
    """Draw how much there is of each matter; of what is bright, at most so much."""
    return st.fixed_dictionaries(
        {
            "air": st.integers(0, 60),
            "lung": st.integers(0, 40),
            "fat": st.integers(5, 30),
            "soft": st.integers(20, 60),
            "contrast": st.integers(0, most),
            "bone": st.integers(1, most),
        }
    )


@settings(max_examples=50)
@given(bodies(60), st.integers(0, 99), st.sampled_from(["as it is", "padded", "clipped", "noisy"]))
def test_a_ct_in_hu_is_never_refused(parts, seed, how):
    hu = scan(parts, seed)
    if how == "padded":  # outside of the scanner's circle, and the rim where that was interpolated
        rim = np.linspace(-3024, -1000, len(hu) // 100)
        hu = np.concatenate([hu, rim, np.full(len(hu) // 3, -3024)])
    elif how == "clipped":
        hu = hu.clip(CT.low, CT.high)
    elif how == "noisy":
        hu = hu + np.random.default_rng(seed).normal(0, 80, hu.shape)
    assert measure_intensity(hu.astype(np.float32), "ct") == CT
    assert measure_intensity(np.round(hu).astype(np.int16), "ct") == CT


@settings(max_examples=50)
@given(bodies(2), st.integers(0, 99), st.sampled_from(list(UNITS)))
def test_the_same_ct_in_other_units_is(parts, seed, units):
    """Where little of it is bright: dense bone is in the window still when 1024 is subtracted
    twice."""
    stored = UNITS[units](scan(parts, seed)).astype(np.float32)
    with pytest.raises(Unseen, match="is not in HU, or the CT window .*`rescale=.*`modality=mr`"):
        measure_intensity(stored, "ct")
    assert measure_intensity(stored, "mr").std > 0


@pytest.mark.parametrize(
    "parts",
    [
        {"soft": 99},  # a crop within an organ
        {"lung": 97, "soft": 3},  # a crop within a lung
        {"soft": 30, "bone": 70},  # bone, cut out
        {"contrast": 60, "soft": 35, "fat": 5},  # a heart full of contrast
    ],
)
def test_nor_is_a_crop_of_one_matter_refused(parts):
    hu = scan(parts, 0)
    assert measure_intensity(np.round(hu).astype(np.int16), "ct") == CT
    ground = np.concatenate([np.round(hu), np.zeros(3 * len(hu))])  # all else set to 0
    assert measure_intensity(ground.astype(np.int16), "ct") == CT


def test_a_likely_offset_is_named_and_brings_the_scan_back():
    hu = scan({"air": 30, "fat": 20, "soft": 40, "bone": 10}, 0)
    for units, add in (("offset 1024", -1024), ("offset -1024", 1024), ("offset 32768", -32768)):
        stored = UNITS[units](hu).astype(np.float32)
        with pytest.raises(Unseen, match=f"`rescale=1,{add}` "):
            measure_intensity(stored, "ct")
        assert measure_intensity(stored, "ct", intercept=float(add), sure=True) == CT
    with pytest.raises(Unseen, match="values reach from 0 to 1; give `rescale=SLOPE,INTERCEPT`"):
        measure_intensity(UNITS["0 to 1"](hu).astype(np.float32), "ct")
    with pytest.raises(Unseen, match="lie above, none below 0"):
        measure_intensity(1000 * UNITS["0 to 1"](hu.clip(max=700)).astype(np.float32), "ct")


MORE = {  # what shows some of the air, or little of the body, and was taken
    "16 bits": lambda hu: (hu + 1024).clip(0, 4095) * 65535 / 4095,
    "offset 300": lambda hu: hu + 300,
    "offset 300 of cut air": lambda hu: hu.clip(-1000) + 300,
    "a tenth": lambda hu: hu / 10,
    "whole tenths": lambda hu: np.round(hu / 10),
    "8 bits with a sign": lambda hu: np.round(255 * ((hu - CT.low) / WINDOW).clip(0, 1)) - 128,
}


@settings(max_examples=30)
@given(st.integers(10, 60), st.integers(10, 30), st.integers(0, 99), st.sampled_from(list(MORE)))
def test_nor_is_one_taken_of_which_air_or_little_is_seen(air, fat, seed, units):
    hu = scan({"air": air, "fat": fat, "soft": 50, "bone": 4}, seed)
    assert measure_intensity(hu.astype(np.float32), "ct") == CT
    with pytest.raises(Unseen, match="is not in HU, or the CT window"):
        measure_intensity(MORE[units](hu).astype(np.float32), "ct")


def test_a_picture_of_8_bits_with_a_sign_is_taken_where_a_user_says_that_it_is_in_hu():
    cut = (
        np.round(scan({"air": 30, "fat": 20, "soft": 40, "bone": 9}, 0))
        .clip(-128, 127)
        .astype(np.int8)
    )
    with pytest.raises(Unseen, match="from -128 to 127, as a picture's of 8 bits do"):
        measure_intensity(cut, "ct")
    assert measure_intensity(cut, "ct", sure=True) == CT
    assert measure_intensity(cut.clip(-127), "ct") == CT


def test_where_a_user_says_what_the_units_are_a_range_of_0_to_255_is_no_reason():
    picture = UNITS["0 to 255"](scan({"air": 30, "fat": 20, "soft": 40}, 0)).astype(np.uint8)
    with pytest.raises(Unseen, match="from 0 to 255, as a picture's do"):
        measure_intensity(picture, "ct")
    assert measure_intensity(picture, "ct", sure=True) == CT
    with pytest.raises(Unseen):
        measure_intensity(picture / np.float32(255), "ct", sure=True)


@pytest.mark.parametrize("seed", range(4))
def test_phantoms_are_in_hu(seed):
    rng = np.random.default_rng(seed)
    shades = np.where(rng.random((20, 20, 20)) < 0.4, -1.0, rng.random((20, 20, 20)))
    assert measure_intensity(ct(shades, rng), "ct") == CT


def test_real_scans_are_in_hu_and_their_copies_in_other_units_are_not(scans):
    for name, label in (
        ("CT_spleen_crop/spleen_2_ct", "CT_spleen_crop/spleen_2_label"),
        ("TotalSegmentator_examples/ct_abdomen", "TotalSegmentator_examples/ct_abdomen_labels"),
    ):
        hu = np.asarray(nib.load(scans / f"{name}.nii.gz").dataobj).astype(np.float32)
        mask = np.asarray(nib.load(scans / f"{label}.nii.gz").dataobj) > 0
        box = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(mask))
        for view in (hu, hu[box], np.where(mask, hu, 0), hu.clip(-200, 300)):
            assert measure_intensity(view, "ct") == CT
        told = UNITS | {
            units: MORE[units] for units in ("16 bits", "a tenth", "8 bits with a sign")
        }
        # the other has no air
        told |= {"offset 300": MORE["offset 300"]} if "abdomen" in name else {}
        for stored in told.values():
            with pytest.raises(Unseen):
                measure_intensity(stored(hu).astype(np.float32), "ct")
