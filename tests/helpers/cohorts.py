"""Cohorts for the tests: an index made of pixel counts alone, and small NIfTI scans on disk."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import strategies as st

from jaxmeta.data.grid import Grid
from jaxmeta.data.intensity import Intensity
from jaxmeta.data.scan import Scale
from jaxmeta.data.shards.shards import Defaults, Shards, Stored, Volume


def cohort(spec, modality=lambda patient: "mr", frames=1):
    """Make shards without pixels: {data set: [a patient's {organ: pixels in each slice}]}."""
    volumes = []
    for dataset, patients in spec.items():
        for number, organs in enumerate(patients):
            for frame in range(frames):
                counts = {organ: np.array(pixels, np.int32) for organ, pixels in organs.items()}
                depth = max(map(len, counts.values()))
                name = f"{dataset}/p{number}"
                volumes.append(
                    Volume(
                        name if frames == 1 else f"{name}_frame{frame}",
                        name,
                        dataset,
                        modality(number),
                        Grid((20, 20, depth), np.eye(4), b"", "axial"),
                        Intensity(0.0, 1.0, 0.0, 1.0),
                        counts,
                        Stored((), (), "<i2", Scale(), 0, {}),
                    )
                )
    table = {}
    for number, volume in enumerate(volumes):
        for organ, counts in volume.counts.items():
            if counts.any():
                patients = table.setdefault(organ, {})
                slices = np.flatnonzero(counts).astype(np.int32)
                patients.setdefault(volume.patient, []).append((number, slices))
    return Shards((), tuple(volumes), Defaults(16, None, "axial"), table)


def hospital():
    """Three data sets: one with all kinds of organs, one without a test organ, one with nothing
    else."""
    return cohort(hospital.spec)


hospital.spec = {
    "belly": [
        {
            "liver": [0, 9, 90, 90, 90, 90, 90, 0, 0, 0],
            "kidney": [0, 0, 0, 30, 30, 30, 0, 0, 0, 0],
            "spleen": [0, 0, 30, 30, 30, 30, 30, 30, 0, 0],
        }
    ]
    * 10,
    "chest": [{"lung": [0, *[50] * 12, 0], "aorta": [9] * 14}] * 6,
    "left": [{"atrium": [0, 0, *[40] * 8]}] * 4,
}


@st.composite
def cohorts(draw):
    """Small cohorts of any kind: organs shared between data sets, absent in patients, in few
    slices."""
    organs = ("a", "b", "c", "d")
    spec = {}
    for dataset in draw(st.lists(st.sampled_from("xyz"), min_size=1, unique=True)):
        own = draw(st.lists(st.sampled_from(organs), min_size=1, unique=True))
        pixels = st.lists(st.sampled_from([0, 1, 30]), min_size=6, max_size=6)
        patients = draw(st.lists(st.tuples(*[pixels for _ in own]), min_size=1, max_size=5))
        spec[dataset] = [dict(zip(own, counts, strict=True)) for counts in patients]
    spec["w"] = [{"a": [30, 30, 0]}] * 2  # so that there is always something
    frames = draw(st.sampled_from([1, 2]))
    return cohort(spec, modality=lambda patient: "ct" if patient > 2 else "mr", frames=frames)


def write_scans(folder: Path, organs, patients, seed, shape=(20, 24, 10)):
    """Write labelled scans that a Medical Decathlon data set would hold: boxes on noise."""
    rng = np.random.default_rng(seed)
    training = []
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for patient in range(patients):
        image = rng.normal(100, 10, shape)
        label = np.zeros(shape, np.uint8)
        for value, _ in enumerate(organs, 1):
            left, low = 2 + 6 * (value - 1), 1 + int(rng.integers(3))
            label[left : left + 5, 4:18, low : low + 6] = value
            image[label == value] += 60 * value
        for part, array in (("imagesTr", image.astype(np.int16)), ("labelsTr", label)):
            scan = nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0]))
            nib.save(scan, folder / part / f"case{patient}.nii.gz")
        training.append({name: f"./{name}sTr/case{patient}.nii.gz" for name in ("image", "label")})
    names = {"0": "background"} | {str(n): name for n, name in enumerate(organs, 1)}
    about = {"name": folder.name, "modality": {"0": "MRI"}, "labels": names, "training": training}
    (folder / "dataset.json").write_text(json.dumps(about))
