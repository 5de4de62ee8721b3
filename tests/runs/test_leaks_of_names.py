"""Organs under two names, and people in two data sets: each is refused, or told."""

import dataclasses
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from jaxmeta.data.grid import spacing
from jaxmeta.data.identity import aliases
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.runs import signature
from jaxmeta.runs.config import Config
from jaxmeta.runs.provenance import namesakes
from jaxmeta.runs.run import refuse_begun
from jaxmeta.runs.setup import gather
from jaxmeta.splits.split import Split, split
from tests.helpers.leaking import (
    ORGANS,
    TESTED,
    asked,
    belly,
    configured,
    left_by,
    only,
    scan,
    write,
)
from tests.helpers.scans import decathlon

# --- one organ under two names


def shifted(label):
    """Draw a mask a little otherwise: one of its voxels less."""
    label = label.copy()
    label[tuple(np.argwhere(label)[0])] = 0
    return label


ALIASES = {
    "milz": ("milz", lambda mask: mask),
    "drawn a little otherwise": ("milz", shifted),
    "a value without a name": (None, lambda mask: mask),
}


def labelled_again(root: Path, how: str, **more) -> Path:
    """Prepare the study with its spleens labelled once more, by another name, as scans of the same
    people."""
    name, drawn = ALIASES[how]
    again = {n: (image, drawn(mask)) for n, (image, mask) in only(belly(), 3).items()}
    first = decathlon(root / "belly", belly(), names=ORGANS)
    second = decathlon(root / "again", again, names=(name,) if name else ("x",))
    if name is None:
        about = json.loads((second / "dataset.json").read_text())
        (second / "dataset.json").write_text(json.dumps(about | {"labels": {}}))
    prepare([first, second], root / "out", size=16, workers=1, same_patients=["belly", "again"])
    return root / "out"


@pytest.mark.parametrize("how", ALIASES)
def test_a_test_organ_that_trains_under_another_name(tmp_path, how):
    data = labelled_again(tmp_path, how)
    other = "milz" if ALIASES[how][0] else "again_label_1"
    (alias,) = aliases(open_shards([data]))
    assert {alias.one, alias.other} == {other, "spleen"}
    exact = how != "drawn a little otherwise"
    assert (alias.dice == 1.0) == exact and alias.dice > 0.9
    config = configured(data, tmp_path / "run")
    with pytest.raises(
        BadInput, match=rf"trained on {other} \(spleen by its masks\).*`allow_leak=organs`"
    ):
        gather(config)
    assert gather(dataclasses.replace(config, test_organs=("spleen", other))).notes == ()
    left_by(dataclasses.replace(config, allow_leak=("organs",)))
    with pytest.raises(BadInput, match="trained with `allow_leak=organs`: begin with another"):
        held = Split(("liver",), (), (), (), ())
        refuse_begun(signature.provenance_of(config.workdir), held, Config())


def test_a_validation_organ_that_trains_under_another_name(tmp_path):
    data = labelled_again(tmp_path, "milz")
    config = configured(data, tmp_path / "run", val_organs=("spleen",), test_organs=("kidney",))
    with pytest.raises(BadInput, match=r"trained on milz \(spleen by its masks\)"):
        gather(config)


def test_another_name_that_what_it_begins_with_was_trained_by(tmp_path):
    """The run itself never draws milz."""
    data = labelled_again(tmp_path, "milz")
    first = configured(data, tmp_path / "first", test_organs=("spleen",), val_organs=())
    left_by(dataclasses.replace(first, test_organs=(), test_patients=TESTED))
    second = configured(data, tmp_path / "run", init_from=first.workdir, train_organs=("liver",))
    second = dataclasses.replace(second, val_organs=())
    with pytest.raises(BadInput, match=r"first was trained on milz \(spleen by its masks\)"):
        gather(second)


def test_two_names_of_one_value_in_one_label(tmp_path):
    folder = decathlon(tmp_path / "belly", belly(), names=ORGANS)
    about = {"channel_names": {"0": "MRI"}, "file_ending": ".nii.gz", "numTraining": 4}
    about["labels"] = {"background": 0, "liver": 1, "kidney": 2, "spleen": 3, "milz": [3]}
    for image in sorted((folder / "imagesTr").iterdir()):
        image.rename(image.with_name(image.name.replace(".nii.gz", "_0000.nii.gz")))
    (folder / "dataset.json").write_text(json.dumps(about))
    made = prepare([folder], tmp_path / "out", size=16, workers=1)
    assert any(
        note.startswith("milz and spleen are one structure by their masks") for note in made.notes
    )
    with pytest.raises(BadInput, match=r"trained on milz \(spleen by its masks\)"):
        gather(configured(tmp_path / "out", tmp_path / "run"))


def test_an_organ_of_a_test_that_trained_under_another_name(study, tmp_path):
    """In the data of the test both names are there, and one of them was trained on."""
    folder = decathlon(tmp_path / "clinic", belly(7, 8), names=ORGANS)
    again = decathlon(tmp_path / "twice", only(belly(7, 8), 1), names=("milz",))
    how = dict(size=16, workers=1, same_patients=["clinic", "twice"])
    prepare([folder, again], tmp_path / "out", **how)
    with pytest.raises(
        BadInput, match=r"trained on liver \(milz by its masks\).*`allow_leak=organs`"
    ):
        asked(study.run, tmp_path / "out", organs=("milz",))


@pytest.mark.parametrize(("equal", "refused"), [(2, False), (3, True)])
@pytest.mark.parametrize("scans", ["the same", "others of the same people"])
def test_a_structure_that_fills_another_in_a_few_people_is_not_the_same(
    tmp_path, equal, refused, scans
):
    """As the core of a tumor: in some people it is all there is. Of four, three are most."""
    cores = {}
    for n, (name, (image, mask)) in enumerate(only(belly(), 3).items()):
        kept = mask.copy()
        if n >= equal:
            kept[..., : int(np.median(np.argwhere(mask)[:, 2])) + 1] = 0
        cores[name] = image if scans == "the same" else scan(70 + n)[0], kept
    folders = [
        decathlon(tmp_path / "belly", belly(), names=ORGANS),
        decathlon(tmp_path / "cores", cores, names=("core",)),
    ]
    how = dict(size=16, workers=1, same_patients=["belly", "cores"])
    made = prepare(folders, tmp_path / "out", **how)
    found = aliases(open_shards([tmp_path / "out"]))
    assert [(each.one, each.other, each.dice) for each in found] == refused * [
        ("core", "spleen", 1.0)
    ]
    assert any("core and spleen are one structure" in note for note in made.notes) == refused
    config = configured(tmp_path / "out", tmp_path / "run", test_organs=("core",))
    if refused:
        with pytest.raises(BadInput, match=r"trained on spleen \(core by its masks\)"):
            gather(config)
    else:
        gather(config)


# Of the second data set's affine, in smallest sides of a voxel: what may hide that masks lie on
# each other.
MOVES = {
    "nothing": (0.0, True),
    "less than nothing": (-1e-12, True),
    "what two borders of rounding are apart": (1e-3, True),
    "a third of a voxel": (0.3, True),
    "a voxel": (1.0, False),
}


def test_masks_are_laid_on_each_other_where_their_voxels_are(tmp_path):
    """Two scans of each person, whose headers differ by a sign of zero or by their rounding."""
    shards = open_shards([labelled_again(tmp_path, "milz")])
    side = min(min(spacing(volume.grid)) for volume in shards.volumes)
    for how, entry in product(MOVES, [(0, 3), (2, 3)]):
        moved, (move, there) = [], MOVES[how]
        for volume in shards.volumes:
            affine = np.where(volume.grid.affine == 0, 0.0, volume.grid.affine)
            affine[entry] = 0.0005
            if volume.dataset == "again":
                affine[affine == 0] *= -1.0
                affine[entry] += move * side
            moved.append(volume._replace(grid=volume.grid._replace(affine=affine), fingerprint=""))
        found = aliases(shards._replace(volumes=tuple(moved)))
        assert [(each.one, each.other) for each in found] == there * [("milz", "spleen")], how


# --- one person in two data sets


def two_series(root: Path, **how):
    """T1 and T2 of six people: other voxels, the same ids."""
    t1 = decathlon(root / "t1", {f"{n:03}": scan(n) for n in range(6)}, names=ORGANS)
    t2 = decathlon(root / "t2", {f"{n:03}": scan(90 + n) for n in range(6)}, names=ORGANS)
    return prepare([t1, t2], root / "out", size=16, workers=1, **how), root / "out"


def sides(data: Path):
    """Say on which sides each person is, by the id alone."""
    made = split(open_shards([data]), test_organs=["spleen"], val_organs=[], seed=0)
    own = [{name.split("/")[-1] for name in names} for names in made[3:5]]
    return own, made


def test_one_id_in_two_data_sets_is_told_and_can_be_joined(tmp_path):
    made, data = two_series(tmp_path / "apart")
    told = [note for note in made.notes if "`same_patients=t1 t2`" in note]
    assert len(told) == 1 and told[0].startswith(
        "6 patient(s) of t1 and t2 have the same id, as 000"
    )
    (training, tested), _ = sides(data)
    assert training & tested, "they count as other people until somebody says so"
    config = configured(data, tmp_path / "run", test_patients=(), val_organs=())
    assert told[0] in gather(config).notes
    for number, how in enumerate(
        [{"same_patients": ["T1", "t2"]}, {"patient_pattern": r"(?P<person>\d+)"}]
    ):
        made, data = two_series(tmp_path / f"joined{number}", **how)
        assert not any("same id" in note for note in made.notes)
        (training, tested), joined = sides(data)
        assert not training & tested and len(tested) == len(training) == 3
        assert all(name.startswith("t1/") == (number == 0) for name in joined.test_patients)


def test_data_sets_prepared_apart_are_joined_all_the_same(tmp_path):
    how = dict(size=16, workers=1, same_patients=["t1", "t2"])
    for name in ("t1", "t2"):
        folder = decathlon(
            tmp_path / name, belly(*((0, 1) if name == "t1" else (5, 6))), names=ORGANS
        )
        prepare([folder], tmp_path / f"{name}-out", **how)
    both = open_shards([tmp_path / "t1-out", tmp_path / "t2-out"])
    assert {volume.patient for volume in both.volumes} == {"t1/case0", "t1/case1"}
    with pytest.raises(BadInput, match="none of these is among t1"):
        prepare([tmp_path / "t1"], tmp_path / "no", workers=1, same_patients=["a", "b"])
    with pytest.raises(BadInput, match="name two data sets or more"):
        prepare([tmp_path / "t1"], tmp_path / "no", workers=1, same_patients=["t1"])


def test_an_id_that_was_trained_on_in_another_data_set_is_told(study, tmp_path):
    clinic = write(tmp_path, "later", clinic=({"case1": scan(7), "other": scan(8)}, ORGANS))
    (note,) = namesakes(study.run.provenance, asked(study.run, clinic).held)
    assert note.startswith(f"1 patient(s) held out have ids that {study.folder} was")
    assert "as clinic/case1 and belly/case1" in note
    assert namesakes(study.run.provenance, asked(study.run).held) == []
