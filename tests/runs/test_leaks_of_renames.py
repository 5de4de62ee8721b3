"""One organ under another name in shards prepared later: known by the scans and the masks that were
kept."""

import shutil

import pytest

from jaxmeta.errors import BadInput
from jaxmeta.evaluation import settings as kept
from jaxmeta.evaluation.leaks import searched_on
from jaxmeta.evaluation.tuning import validation_pool
from jaxmeta.runs import signature
from jaxmeta.runs.provenance import TRAINED, HeldOut, Seen, leaks
from jaxmeta.runs.setup import gather
from tests.helpers.leaking import (
    ORGANS,
    TESTED,
    asked,
    belly,
    configured,
    left_by,
    only,
    write,
)

MILZ = ("liver", "kidney", "milz")


def scans_under_test(value=None, seeds=(2, 3)):
    """Take the scans of the study's test patients under other names, whole or with one structure
    alone."""
    cases = {f"scan{n}": belly()[f"case{n}"] for n in seeds}
    return cases if value is None else only(cases, value)


@pytest.mark.parametrize("how", ["directly", "through another run", "in a later folder"])
def test_a_run_that_was_trained_on_the_test_organ_by_the_name_of_an_earlier_preparation(
    study, tmp_path, how
):
    before = write(tmp_path, "before", belly=(belly(), MILZ))
    changes = dict(test_organs=("liver",), train_organs=("milz",))
    first = left_by(configured(before, tmp_path / "first", **changes))
    if how == "through another run":  # which is all that is left
        blind = dict(test_organs=("spleen",), train_organs=("liver",), init_from=first.folder)
        other = write(tmp_path, "other", clinic=(belly(6, 7, 8), ORGANS))
        config = configured(other, tmp_path / "second", **blind, test_patients=("clinic/case2",))
        second = left_by(config)
        shutil.rmtree(first.folder)
        first = second
    now = dict(init_from=first.folder, val_organs=(), train_organs=("kidney",))
    data = study.data
    if how == "in a later folder":
        data = write(tmp_path, "later", clinic=(scans_under_test(seeds=range(4)), ORGANS))
        now |= dict(test_patients=("clinic/scan2", "clinic/scan3"))
    told = r"first was trained on milz \(spleen by its masks\).*`allow_leak=organs`"
    with pytest.raises(BadInput, match=told):
        gather(configured(data, tmp_path / "run", **now))
    if how != "through another run":  # which was trained on livers
        gather(configured(data, tmp_path / "run", **now | {"test_organs": ("liver",)}))


def test_a_validation_organ_by_the_name_of_an_earlier_preparation(study, tmp_path):
    before = write(tmp_path, "before", belly=(belly(), MILZ))
    changes = dict(test_organs=("liver",), train_organs=("milz",))
    first = left_by(configured(before, tmp_path / "first", **changes))
    now = dict(init_from=first.folder, test_organs=("liver",), val_organs=("spleen",))
    with pytest.raises(BadInput, match=r"trained on milz \(spleen by its masks\)"):
        gather(configured(study.data, tmp_path / "run", **now))


def test_a_test_of_the_trained_organ_by_another_name(study, tmp_path):
    """On scans that the run holds out: it is the organ that leaks."""
    later = write(tmp_path, "later", clinic=(scans_under_test(1), ("milz",)))
    with pytest.raises(
        BadInput,
        match=r"trained on liver \(milz by its masks\).*`allow_leak=organs`",
    ):
        asked(study.run, later, organs=("milz",))
    own = write(tmp_path, "own", clinic=(scans_under_test(3), ("milz",)))
    assert asked(study.run, own, organs=("milz",)).leaks == ()


def test_scans_and_structures_that_both_changed_their_names(study, tmp_path):
    swapped = ("spleen", "kidney", "liver")
    later = write(tmp_path, "later", clinic=(scans_under_test(), swapped))
    told = "clinic/scan2, voxel for voxel belly/case2, is labelled otherwise than when.*leak=data`"
    with pytest.raises(BadInput, match=told):
        asked(study.run, later)
    with pytest.raises(BadInput, match=r"trained on liver \(spleen by its masks\)"):
        asked(study.run, later, allow_leak=("data",))
    renamed = write(tmp_path, "renamed", clinic=(scans_under_test(), ORGANS))
    assert asked(study.run, renamed).leaks == ()
    fewer = write(tmp_path, "fewer", clinic=(scans_under_test(3), ("spleen",)))
    assert asked(study.run, fewer).leaks == ()


def test_settings_that_were_chosen_on_the_test_organ_by_another_name(study, tmp_path):
    before = write(tmp_path, "before", belly=(belly(), MILZ))
    changes = dict(test_organs=("kidney",), val_organs=("milz",))
    searched = left_by(configured(before, tmp_path / "searched", **changes))
    kept.save(searched.folder, "1", {}, {}, None, searched_on(searched, validation_pool(searched)))
    told = r"searched was tuned on milz \(spleen by its masks\).*`allow_leak=settings`"
    with pytest.raises(BadInput, match=told):
        asked(study.run, tuned_on=searched.folder)


def test_what_is_kept_of_volumes_are_the_digests_of_each_organ(study):
    volumes = signature.volumes_of(study.folder)
    patient, fingerprint, masks = volumes["belly/case2"]
    assert patient in TESTED and set(masks) == set(ORGANS) and len(set(masks.values())) == 3
    trained, chosen = study.run.provenance
    assert trained.masks[fingerprint] == {"liver": masks["liver"]}
    assert chosen.masks[fingerprint] == {"kidney": masks["kidney"]}


@pytest.mark.parametrize(("equal", "leaking"), [(1, False), (4, False), (5, True), (8, True)])
def test_masks_are_one_organ_where_they_are_the_same_in_most_scans(equal, leaking):
    """A tumour that is all core in a few of eight patients is still another structure."""
    scans = range(8)
    seen = {f"f{n}": {"whole": f"w{n}"} for n in scans} | {"f9": {"whole": "w9"}}
    held = {f"f{n}": {"core": f"w{n}" if n < equal else f"c{n}"} for n in scans}
    provenance = [Seen("first", TRAINED, ("whole",), masks=seen)]
    found = leaks(provenance, HeldOut({"core": "core"}, masks=held))
    assert [leak.text for leak in found] == leaking * [
        "first was trained on whole (core by its masks), which is held out here"
    ]
