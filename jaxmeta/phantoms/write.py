"""Procedural cohorts on which few-shot learning can be judged, written as real NIfTI files.

Ten *phantom data sets*, each as a real one would come: its own organs, one scanner protocol
(CT-like in Hounsfield units or MR-like in arbitrary ones) and its own patients, in Medical
Segmentation Decathlon layout. Six of them are for training, two for validation, two for testing.
What makes the question fair:

- an organ of validation or test belongs to a shape family that no training organ has
  (`shapes.py`), is in no training image, and is seen under a protocol of its own;
- every contrast level of a protocol is shared, by organs or by unlabelled distractors, one of which
  has an organ's shape too (as the left kidney has the right one's): neither a threshold nor a shape
  alone finds an organ, the place in the body counts, and the body is not symmetric;
- patients differ: in size and pose, in the organs' place, size, turn, form and contrast, in bias
  field and noise.

Files are written as scanners write them (`scans.py`): orientation, obliqueness, spacing,
form codes, voxel type and scaling vary from patient to patient. Everything is a pure function of
the seed. Lengths are in *body units*, of which 48 span the field of view, whatever the matrix.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float, UInt8

from jaxmeta.phantoms.scans import as_scanned, ct, mr, waves
from jaxmeta.phantoms.shapes import FAMILIES

# data set: phase, modality, the families of its organs
COHORT = {
    "phantom_a": ("train", "ct", ("ellipse", "annulus", "cross", "lobes")),
    "phantom_b": ("train", "mr", ("box", "crescent", "wave", "half")),
    "phantom_c": ("train", "ct", ("arc", "peanut", "diamond", "comb")),
    "phantom_d": ("train", "mr", ("star", "elbow", "pair", "ellipse")),
    "phantom_e": ("train", "ct", ("bowl", "lobes", "box", "wave")),
    "phantom_f": ("train", "mr", ("annulus", "half", "diamond", "peanut")),
    "phantom_v": ("val", "ct", ("trapezoid", "wedge")),
    "phantom_w": ("val", "mr", ("bolt", "tee")),
    "phantom_x": ("test", "ct", ("triangle", "heart")),
    "phantom_y": ("test", "mr", ("chevron", "teardrop")),
}
TRAINED_FAMILIES = sorted(
    {f for phase, _, families in COHORT.values() if phase == "train" for f in families}
)
PATIENTS = {"train": 6, "val": 6, "test": 16}
SLICES = 12
VERSION = 1  # of what a seed gives: raised when the bytes change, so that old files are replaced

OBJECTS = 6  # organs and distractors in one body
RADIUS = (5.8, 7.0)
JITTER = 4.5  # of an organ's place, in body units, the same in both directions
TURN = 0.6  # of an organ, in radians
CONTRAST_JITTER = 0.05  # of an organ, in one patient
FLESH = (0.36, 0.48)  # the shade between the organs, one for a data set
LEVELS = (-0.27, 0.28, 0.52)  # the organs' shades, from the flesh's
FAT = 0.9  # width of the layer of flesh's shade around each thing: touching things have an outline
TEXTURE = 0.06


class Thing(NamedTuple):
    """An organ or a distractor, as every body of its data set has it."""

    family: str
    form: float  # the family's free parameter
    home: tuple[float, float]
    middle: float  # height of its center, in slices from the middle slice
    height: float  # half its extent, in slices
    radius: float
    turn: float
    level: float
    grain: float  # wavelength of its texture


def organ_name(family: str, dataset: str) -> str:
    """Name an organ by its family and its data set: `annulus` of `phantom_a` is `annulus_a`."""
    return f"{family}_{dataset[-1]}"


def phantom_organs(phase: str) -> tuple[str, ...]:
    """Names of the organs of one phase: "train", "val" or "test"."""
    return tuple(
        organ_name(family, dataset)
        for dataset, (of, _, families) in COHORT.items()
        if of == phase
        for family in families
    )


PHANTOM_SPLIT = {phase: phantom_organs(phase) for phase in ("train", "val", "test")}


def write_phantoms(
    folder: str | os.PathLike, *, seed: int = 0, patients: dict[str, int] | None = None
) -> list[Path]:
    """Write the cohort of `seed` under `folder`; return its data-set folders, each in MSD layout.

    `patients` overrides how many each phase's data sets have. The cohort is written beside and
    renamed when whole; a cohort that is there already, of the same recipe, is left alone.
    """
    folder = Path(folder)
    recipe = {"version": VERSION, "seed": seed, "patients": {**PATIENTS, **(patients or {})}}
    folders = [folder / name for name in COHORT]
    stamp = folder / "phantoms.json"
    if stamp.exists() and json.loads(stamp.read_text("utf-8")) == recipe:
        return folders
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for number, (name, (phase, modality, families)) in enumerate(COHORT.items()):
            rng = np.random.default_rng((seed, number))
            _write_dataset(beside / name, modality, families, recipe["patients"][phase], rng)
        (beside / stamp.name).write_text(json.dumps(recipe), "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folders


def _write_dataset(folder, modality, families, patients, rng):
    flesh = rng.uniform(*FLESH)
    things = _anatomy(families, flesh, rng)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    names = [f"{folder.name}_{number:03d}.nii.gz" for number in range(1, patients + 1)]
    for name in names:
        private = np.random.default_rng(rng.integers(2**63, size=2))
        shades, label = _body(things, len(families), flesh, private)
        scan = ct(shades, private) if modality == "ct" else mr(shades, private)
        image, labels = as_scanned(scan, label, modality, private)
        nib.save(image, folder / "imagesTr" / name)
        nib.save(labels, folder / "labelsTr" / name)
    organs = [organ_name(family, folder.name) for family in families]
    description = {
        "name": folder.name,
        "description": "procedural phantoms for few-shot segmentation",
        "tensorImageSize": "3D",
        "modality": {"0": {"ct": "CT", "mr": "MRI"}[modality]},
        "labels": {"0": "background", **{str(i + 1): organ for i, organ in enumerate(organs)}},
        "numTraining": patients,
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=1), "utf-8")


def _anatomy(families, flesh, rng) -> list[Thing]:
    """List organs, then distractors: an organ's twin, and things that share an organ's contrast."""
    angles = 2 * np.pi * (np.arange(OBJECTS - 1) + rng.uniform()) / (OBJECTS - 1)
    homes = [(rng.uniform(-2, 2), rng.uniform(-2, 2))]
    homes += [(12.5 * np.cos(a), 10.5 * np.sin(a)) for a in angles]
    homes = [homes[i] for i in rng.permutation(OBJECTS)]
    levels = flesh + rng.permutation(LEVELS) + rng.uniform(-0.04, 0.04, size=len(LEVELS))
    levels = [levels[i % len(levels)] for i in range(len(families))]
    organs = [
        Thing(
            family=family,
            form=rng.uniform(),
            home=home,
            middle=rng.uniform(-1, 1),
            height=rng.uniform(4.2, 5.5),
            radius=rng.uniform(*RADIUS),
            turn=rng.uniform(-np.pi, np.pi),
            level=level,
            grain=rng.uniform(4, 9),
        )
        for family, home, level in zip(families, homes[: len(families)], levels, strict=True)
    ]
    distractors = []
    for number, home in enumerate(homes[len(families) :]):
        # from the second organ on: of four organs on three levels, these have a level to themselves
        like = organs[(number + 1) % len(organs)]
        others = [family for family in TRAINED_FAMILIES if family != like.family]
        family = like.family if number == 0 else others[rng.integers(len(others))]
        turn = rng.uniform(-np.pi, np.pi)
        distractors.append(like._replace(family=family, home=home, turn=turn))
    return organs + distractors


def _body(
    things, organs, flesh, rng
) -> tuple[Float[np.ndarray, "X Y Z"], UInt8[np.ndarray, "X Y Z"]]:
    """One patient in canonical orientation: shades in [0, 1] (air: negative) and the label map."""
    size = int(rng.integers(56, 65))
    x, y, z = np.meshgrid(
        *[
            (np.arange(n) - (n - 1) / 2) * scale
            for n, scale in ((size, 48 / size), (size, 48 / size), (SLICES, 1.0))
        ],
        indexing="ij",
        sparse=True,
    )
    pixel = 48 / size
    x, y = x - rng.uniform(-2, 2), y - rng.uniform(-2, 2)
    scale = rng.uniform(0.93, 1.07)
    x, y = _turned(x / scale, y / scale, rng.uniform(-0.2, 0.2))
    x = x + waves(x, y, z, 22, 0.8, rng)
    y = y + waves(x, y, z, 22, 0.8, rng)
    wide, deep = 20.5 * rng.uniform(0.96, 1.04), 18.5 * rng.uniform(0.96, 1.04)
    skin = (1 - np.hypot(x / wide, y / deep)) * deep
    shades = np.full(skin.shape, -1.0)
    shades = _blend(
        shades, skin / pixel, rng.uniform(0.75, 0.95)
    )  # a bright rind, as fat or skin has
    shades = _blend(shades, (skin - 1.6) / pixel, flesh + waves(x, y, z, 9, 0.03, rng))
    label = np.zeros(skin.shape, np.uint8)
    # organs cover distractors: what is labelled keeps enough of its form to be recognized
    order = [*range(organs, len(things)), *rng.permutation(organs)]
    for number in order:
        depth, shade = _thing(things[number], x, y, z, rng)
        depth = np.minimum(depth, skin - 2.5) * scale / pixel
        shades = _blend(shades, depth + FAT / pixel, flesh)
        shades = _blend(shades, depth, shade)
        label[depth > -FAT / pixel] = 0
        label[depth > 0] = number + 1 if number < organs else 0
    return shades, label


def _thing(thing, x, y, z, rng):
    """Depth in body units and shade of one thing in one patient."""
    x = x - thing.home[0] - rng.uniform(-JITTER, JITTER) - rng.uniform(-0.2, 0.2) * z
    y = y - thing.home[1] - rng.uniform(-JITTER, JITTER) - rng.uniform(-0.2, 0.2) * z
    x, y = _turned(x, y, thing.turn + rng.uniform(-TURN, TURN) + rng.uniform(-0.05, 0.05) * z)
    height = (z - thing.middle - rng.uniform(-0.7, 0.7)) / (thing.height * rng.uniform(0.92, 1.08))
    taper = np.cbrt(np.clip(1 - np.abs(height) ** 3, 0, None))
    radius = thing.radius * rng.uniform(0.88, 1.12) * np.maximum(taper, 0.05)
    form = np.clip(thing.form + rng.uniform(-0.1, 0.1), 0, 1)
    # petals and arms are counted: a form that varies must not change their number
    form = thing.form if thing.family in ("lobes", "star") else form
    depth = FAMILIES[thing.family](x / radius, y / radius, form) * radius
    depth = np.where(taper > 0.35, depth, -9.0)
    shade = thing.level + rng.uniform(-CONTRAST_JITTER, CONTRAST_JITTER)
    return depth, shade + waves(x, y, z, thing.grain, TEXTURE, rng)


def _blend(shades, depth, shade):
    """Lay a thing over what is there; half a pixel about its outline the two mix."""
    share = np.clip(depth + 0.5, 0, 1)
    return shades * (1 - share) + share * shade


def _turned(x, y, angle):
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
