"""Scans under other names, and data and runs that were changed: each is refused, or told.

What must go through is tried beside what must not.
"""

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmeta.data.fingerprint import fingerprint
from jaxmeta.data.formats.image import read_image
from jaxmeta.data.identity import aliases, doubts
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput, Occupied
from jaxmeta.runs import config_file, signature
from jaxmeta.runs.build import open_data
from jaxmeta.runs.claim import claim
from jaxmeta.runs.provenance import contents_of, held_by, leaks, seen_here
from jaxmeta.runs.setup import gather
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from tests.helpers.leaking import (
    ORGANS,
    TESTED,
    asked,
    belly,
    configured,
    copied,
    left_by,
    only,
    opened,
    scan,
    write,
)
from tests.helpers.scans import decathlon, oriented, save


def test_an_honest_run_and_an_honest_test_go_through(study, tmp_path):
    assert gather(configured(study.data, tmp_path / "again")).notes == ()
    found = asked(study.run)
    assert found.leaks == () and found.held.patients == set(TESTED)
    later = write(tmp_path, "later", clinic=(belly(7, 8), ORGANS))
    assert asked(study.run, later).leaks == ()
    with contextlib.suppress(FileNotFoundError):
        claim(gather(config_file.read_run(study.folder)[0]))  # resumed: it is what it was
    signature.refuse_edited(study.folder)


# --- the same voxels under two names, when a run begins


def twice(cases, how: str):
    """Copy the scan of a test patient as somebody else's: as it is, in another type, or under
    another header."""
    image, label = cases["case3"]
    return {"float": image.astype(np.float32), "int": image.astype(np.int32)}.get(how, image), label


@pytest.mark.parametrize("how", ["same", "int", pytest.param("float", marks=pytest.mark.slow)])
def test_one_scan_under_two_ids_of_a_data_set(tmp_path, how):
    cases = belly() | {"case9": twice(belly(), how)}
    data = write(tmp_path, belly=(cases, ORGANS))
    config = configured(data, tmp_path / "run")
    with pytest.raises(
        BadInput, match="belly/case9, voxel for voxel belly/case3.*`allow_leak=contents`"
    ):
        gather(config)
    allowed = gather(dataclasses.replace(config, allow_leak=("contents",)))
    assert any(note.startswith("LEAK contents: ") for note in allowed.notes)


def test_one_scan_in_two_data_sets_under_another_header_with_other_labels(tmp_path):
    image, label = scan(3)
    other = {"x1": (image, (label == 1).astype(np.uint8)), "x2": only(belly(8), 1)["case0"]}
    folder = decathlon(tmp_path / "other", other, names=("liver",))
    save(folder / "imagesTr" / "x1.nii.gz", image, oriented("LPS", image.shape, (0.7, 0.7, 2.0)))
    save(
        folder / "labelsTr" / "x1.nii.gz",
        other["x1"][1],
        oriented("LPS", image.shape, (0.7, 0.7, 2.0)),
    )
    first = decathlon(tmp_path / "belly", belly(), names=ORGANS)
    made = prepare([first, folder], tmp_path / "out", size=16, workers=1)
    assert any("belly/case3 and other/x1" in note for note in made.notes)
    with pytest.raises(BadInput, match="other/x1, voxel for voxel belly/case3"):
        gather(configured(tmp_path / "out", tmp_path / "run"))


def test_one_scan_in_two_folders_of_shards(study, tmp_path):
    other = write(tmp_path, "other", chest=({"a": scan(2), "b": scan(9)}, ("lung", "aorta", "rib")))
    config = configured(study.data, tmp_path / "run")
    config = dataclasses.replace(config, data=(study.data, other), allow_leak=("organs",))
    with pytest.raises(BadInput, match="chest/a, voxel for voxel belly/case2"):
        gather(config)


def test_one_scan_under_two_ids_on_the_test_side_is_its_own_support(tmp_path):
    data = write(tmp_path, belly=(belly(0, 1, 2, 2), ORGANS))
    run = left_by(configured(data, tmp_path / "run"))
    with pytest.raises(
        BadInput, match="case2 and belly/case3 hold the same voxels.*`allow_leak=contents`"
    ):
        asked(run)
    assert [leak.kind for leak in asked(run, allow_leak=("contents",)).leaks] == ["contents"]


def test_one_scan_under_two_ids_of_training_is_told(tmp_path):
    data = write(tmp_path, belly=(belly(0, 0, 2, 3), ORGANS))
    (note,) = gather(configured(data, tmp_path / "run")).notes
    assert note.startswith("1 scan(s) are there under two patients' names") and "case0" in note


# --- between training and test


def test_a_training_scan_in_the_data_of_a_test(study, tmp_path):
    later = write(tmp_path, "later", clinic=({"x": scan(0), "y": scan(8)}, ORGANS))
    with pytest.raises(BadInput, match="trained on belly/case0, voxel for voxel clinic/x"):
        asked(study.run, later)
    found = asked(study.run, later, allow_leak=("contents",)).leaks
    assert {leak.kind for leak in found} == {"contents"}


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ((3, 1, 2, 0), "belly/case0 is another scan than when"),
        ((0, 1, 8, 3), "belly/case2 is another scan"),
    ],
)
def test_scans_that_changed_their_names(study, tmp_path, seeds, told):
    again = write(tmp_path, "again", belly=(belly(*seeds), ORGANS))
    with pytest.raises(BadInput, match=f"{told}.*`allow_leak=data`"):
        asked(study.run, again)
    with pytest.raises(
        BadInput, match="`allow_leak="
    ):  # a swap of the sides is one of contents, too
        asked(study.run, again, allow_leak=("data",) if seeds[0] else ())


def test_scans_that_were_all_renamed(study, tmp_path):
    named = {f"scan{n}": each for n, each in enumerate(belly().values())}
    again = write(tmp_path, "again", clinic=(named, ORGANS))
    with pytest.raises(BadInput, match="belly/case., voxel for voxel clinic/scan"):
        asked(study.run, again)


def test_structures_that_changed_their_names(study, tmp_path):
    again = write(tmp_path, "again", belly=(belly(), ("spleen", "kidney", "liver")))
    with pytest.raises(BadInput, match="labelled otherwise than when the run was trained"):
        asked(study.run, again)
    with pytest.raises(BadInput, match=r"trained on liver \(spleen by its masks\)"):
        asked(study.run, again, allow_leak=("data",))
    found = asked(study.run, again, allow_leak=("data", "organs")).leaks
    assert {leak.kind for leak in found} == {"data", "organs"}


def test_masks_that_were_drawn_anew(study, tmp_path):
    cases = belly()
    image, label = cases["case2"]
    cases["case2"] = (
        image,
        np.where(label == 3, 0, label).astype(np.uint8) + 3 * (np.roll(label, 1, 0) == 3),
    )
    cases["case2"] = image, cases["case2"][1].clip(0, 3).astype(np.uint8)
    again = write(tmp_path, "again", belly=(cases, ORGANS))
    with pytest.raises(BadInput, match="belly/case2 is labelled otherwise"):
        asked(study.run, again)


def test_patients_that_were_grouped_anew(study, tmp_path):
    how = {"patient_pattern": r"(c)ase"}
    again = write(tmp_path, "again", how, belly=(belly(), ORGANS))
    with pytest.raises(BadInput, match="belly/case0 is of another patient"):
        asked(study.run, again)


# --- while a run was stopped


@pytest.mark.parametrize(
    "now", [(belly(3, 1, 2, 0), ORGANS), (belly(), ("kidney", "liver", "spleen"))]
)
def test_data_that_changed_while_a_run_was_stopped(study, tmp_path, now):
    mine = Path(shutil.copytree(study.data, tmp_path / "shards"))
    run = left_by(configured(mine, tmp_path / "run"))
    shutil.rmtree(mine)
    shutil.copytree(write(tmp_path, "again", belly=now), mine)
    with pytest.raises(Occupied, match=r"of a run on other data: belly/case0 is not what it was"):
        claim(gather(config_file.read_run(run.folder)[0]), write=False)


@pytest.mark.parametrize("what", ["config", "split", "provenance", "gone", "checkpoints"])
def test_a_run_that_was_edited_after_training(study, tmp_path, what):
    folder = copied(study, tmp_path)
    path = folder / (signature.NAME if what == "provenance" else "config.json")
    values = json.loads(path.read_text())
    if what == "config":
        values["config"]["val_organs"] = []
    elif what == "split":  # so that a patient it has learned from may be tested
        values["split"]["train_patients"].remove("belly/case0")
        values["split"]["test_patients"].append("belly/case0")
    elif what == "provenance":
        values["seen"] = []
    path.write_text(json.dumps(values))
    if what == "gone":
        (folder / signature.NAME).unlink()
    if what == "checkpoints":  # of a run that held out another organ
        config = configured(study.data, tmp_path / "other", test_organs=("liver",))
        other = left_by(config)
        shutil.rmtree(folder / "checkpoints")
        shutil.copytree(other.folder / "checkpoints", folder / "checkpoints")
    with pytest.raises(BadInput, match="was changed after training"):
        opened(folder)


def test_a_run_that_was_moved_with_its_data_is_what_it_was(study, tmp_path):
    folder = copied(study, tmp_path)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["config"]["data"] = ["/elsewhere"]
    path.write_text(json.dumps(values, indent=3))
    assert opened(folder).provenance[0].by == str(folder)


# --- properties


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_scan_of_training_is_ever_in_the_pool_of_a_test(study, data):
    """Whatever is doubled, under whatever names: the run is refused, or what it draws is not
    tested."""
    shards = open_data(study.run.config)
    many = [
        volume._replace(
            name=f"{volume.dataset}/n{n}",
            patient=f"{volume.dataset}/p{data.draw(st.integers(0, 5))}",
            fingerprint=data.draw(st.sampled_from("abcdefgh")),
        )
        for n, volume in enumerate(shards.volumes * 2)
    ]
    table = {}
    for number, volume in enumerate(many):
        for organ, counts in volume.counts.items():
            held = np.flatnonzero(counts).astype(np.int32)
            table.setdefault(organ, {}).setdefault(volume.patient, []).append((number, held))
    shards = shards._replace(volumes=tuple(many), table=table)
    made = split(shards, test_organs=["spleen"], val_organs=[], seed=data.draw(st.integers(0, 9)))
    try:
        drawn, tested = (pool(shards, made, phase) for phase in ("train", "test"))
    except BadInput:
        return
    both = contents_of([drawn]).keys() & contents_of([tested]).keys()
    own = seen_here(study.run.config, made, drawn)
    found = leaks(own, held_by(tested))
    assert bool(both) == any(leak.kind == "contents" for leak in found)
    assert not any(leak.kind in ("organs", "patients") for leak in found)


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_a_fingerprint_is_of_numbers_and_shape_alone(tmp_path, dtype):
    image = scan(0)[0]
    own = fingerprint(read_image(save(tmp_path / "a.nii.gz", image)).values)
    other = save(tmp_path / "b.nii", image.astype(dtype), oriented("PSR", image.shape))
    assert fingerprint(read_image(other).values) == own and len(own) == 16
    small = image.clip(0, 255)
    assert fingerprint(small.astype(np.uint8)) == fingerprint(small)
    changed = image.copy()
    changed[0, 0, 0] += 1
    assert fingerprint(changed) != own
    assert fingerprint(image.reshape(image.shape[::-1], order="F")) != own


def test_no_voxel_of_a_large_scan_is_left_out_of_its_fingerprint():
    """Its rows are folded: every one counts, and where it stands."""
    rng = np.random.default_rng(0)
    image = np.asfortranarray(rng.integers(-999, 999, (128, 128, 35)).astype(np.int16))
    found = {fingerprint(image), fingerprint(image[..., ::-1]), fingerprint(np.roll(image, 1, 0))}
    for place in rng.integers(0, image.size, 20):
        other = image.copy(order="F")
        other.T.flat[place] += 1
        found.add(fingerprint(other))
    assert len(found) == 23 and fingerprint(image.copy(order="C")) in found
    assert len(found) == len(found | {fingerprint(np.ascontiguousarray(image))})


def test_structures_that_only_touch_have_one_name_each(study):
    assert aliases(open_shards([study.data])) == [] == doubts(open_shards([study.data]))
