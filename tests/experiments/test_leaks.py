"""Forty ways in which a test could share something with what it tests: each is refused, or told.

Nothing is trained here: a run is its folder - config.json, provenance.json and a checkpoint of nothing - as
training would have left it, on shards of a few small scans. What must go through is tried beside what must not.
"""

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import meta_test, summary
from experiments.configs import INNER, Config, Network, Tasks
from experiments.reports.run_report import whose
from experiments.runs import identity, saved
from experiments.runs.build import open_data
from experiments.runs.given import gather
from experiments.runs.opened import Run, network_of, open_run, refuse_begun, stands_on
from experiments.runs.provenance import contents_of, held_by, leaks, namesakes, seen_here, unknowns
from experiments.runs.training import claim
from experiments.scans.reading import Reading, read_scan, reading_for
from experiments.testing import settings as kept
from experiments.testing.choosing import transfer_run
from experiments.testing.leaking import searched_on
from experiments.testing.outcome import Outcome
from experiments.testing.questions import Options, check, questions
from experiments.testing.tuning import validation_pool
from jaxmeta import checkpoint
from jaxmeta.augment import Augmentation
from jaxmeta.data.identity import aliases, doubts, fingerprint
from jaxmeta.data.nifti import read_image
from jaxmeta.data.prepare import prepare
from jaxmeta.data.shards import open_shards
from jaxmeta.errors import BadInput, Occupied
from jaxmeta.finetune import Finetune, Found
from jaxmeta.models.sam.files import SIZE
from jaxmeta.tasks.split import Split, pool, split
from tests.data.scans import anatomy, decathlon, oriented, save

ORGANS = ("liver", "kidney", "spleen")
TESTED = ("belly/case2", "belly/case3")
BARE = {"names": ("spleen",)}


def scan(seed: int):
    return anatomy(values=(1, 2, 3), seed=seed)


def belly(*seeds):
    return {f"case{n}": scan(seed) for n, seed in enumerate(seeds or range(4))}


def only(cases, value):
    """Label one structure alone, as value 1."""
    return {name: (image, (label == value).astype(np.uint8)) for name, (image, label) in cases.items()}


def write(root: Path, where: str = "shards", /, how: dict | None = None, **datasets) -> Path:
    """Write data sets and prepare them together: each is (cases, names)."""
    folders = []
    for name, (cases, names) in datasets.items():
        folders.append(decathlon(root / where / "nifti" / name, cases, names=names))
    prepare(folders, root / where / "out", size=16, workers=1, **(how or {}))
    return root / where / "out"


def configured(data: Path, workdir: Path, **changes) -> Config:
    usual = dict(
        data=(data,),
        workdir=workdir,
        test_organs=("spleen",),
        val_organs=("kidney",),
        test_patients=TESTED,
        steps=0,
        tasks=Tasks(size=16, shots=1, queries=1, count=1),
        network=Network(widths=(4,), groups=2),
        inner=dataclasses.replace(INNER["meta-sgd"], steps=1, test_steps=2),
        augment=Augmentation(invert=0.5),
    )
    return Config(**(usual | changes))


def left_by(config: Config, step: int = 1) -> Run:
    """Leave in a run's folder what its training would, but for the network."""
    given = gather(config)
    about = claim(given)
    with checkpoint.open_checkpoints(config.workdir / "checkpoints") as checkpoints:
        checkpoint.save(checkpoints, step, {"a": np.zeros(1)}, {"b": np.zeros(1)}, None, about)
    return opened(config.workdir, step)


def opened(folder: Path, step: int = 1) -> Run:
    """Open a run as `open_run` does, but for its network."""
    identity.refuse_edited(folder)
    return Run(folder, *saved.read(folder), None, step, identity.provenance_of(folder))


class Study(NamedTuple):
    """A prepared data set, and a run on it that holds out spleens and two of four patients."""

    data: Path
    run: Run

    @property
    def folder(self) -> Path:
        return self.run.folder


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    root = tmp_path_factory.mktemp("leaks")
    data = write(root, belly=(belly(), ORGANS))
    return Study(data, left_by(configured(data, root / "run")))


def copied(study: Study, root: Path) -> Path:
    return Path(shutil.copytree(study.folder, root / "copy"))


def asked(run: Run, data: Path | None = None, **options):
    given = {"shots": (1,), "draws": 1, "data": (data,) if data else ()}
    return questions(run, Options(run=(), **(given | options)))


def test_an_honest_run_and_an_honest_test_go_through(study, tmp_path):
    assert gather(configured(study.data, tmp_path / "again")).notes == ()
    found = asked(study.run)
    assert found.leaks == () and found.held.patients == set(TESTED)
    later = write(tmp_path, "later", clinic=(belly(7, 8), ORGANS))
    assert asked(study.run, later).leaks == ()
    with contextlib.suppress(FileNotFoundError):
        claim(gather(saved.read(study.folder)[0]))  # resumed: it is what it was
    identity.refuse_edited(study.folder)


# --- the same voxels under two names, when a run begins


def twice(cases, how: str):
    """Copy the scan of a test patient as somebody else's: as it is, in another type, or under another header."""
    image, label = cases["case3"]
    return {"float": image.astype(np.float32), "int": image.astype(np.int32)}.get(how, image), label


@pytest.mark.parametrize("how", ["same", "float", "int"])
def test_one_scan_under_two_ids_of_a_data_set(tmp_path, how):
    cases = belly() | {"case9": twice(belly(), how)}
    data = write(tmp_path, belly=(cases, ORGANS))
    config = configured(data, tmp_path / "run")
    with pytest.raises(BadInput, match="belly/case9, voxel for voxel belly/case3.*allow-leak contents"):
        gather(config)
    allowed = gather(dataclasses.replace(config, allow_leak=("contents",)))
    assert any(note.startswith("LEAK contents: ") for note in allowed.notes)


def test_one_scan_in_two_data_sets_under_another_header_with_other_labels(tmp_path):
    image, label = scan(3)
    other = {"x1": (image, (label == 1).astype(np.uint8)), "x2": only(belly(8), 1)["case0"]}
    folder = decathlon(tmp_path / "other", other, names=("liver",))
    save(folder / "imagesTr" / "x1.nii.gz", image, oriented("LPS", image.shape, (0.7, 0.7, 2.0)))
    save(folder / "labelsTr" / "x1.nii.gz", other["x1"][1], oriented("LPS", image.shape, (0.7, 0.7, 2.0)))
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


def test_one_scan_under_two_ids_on_the_test_side_lends_to_itself(tmp_path):
    data = write(tmp_path, belly=(belly(0, 1, 2, 2), ORGANS))
    run = left_by(configured(data, tmp_path / "run"))
    with pytest.raises(BadInput, match="case2 and belly/case3 hold the same voxels.*allow-leak contents"):
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
    [((3, 1, 2, 0), "belly/case0 is another scan than when"), ((0, 1, 8, 3), "belly/case2 is another scan")],
)
def test_scans_that_changed_their_names(study, tmp_path, seeds, told):
    again = write(tmp_path, "again", belly=(belly(*seeds), ORGANS))
    with pytest.raises(BadInput, match=f"{told}.*--allow-leak data"):
        asked(study.run, again)
    with pytest.raises(BadInput, match="--allow-leak"):  # a swap of the sides is one of contents, too
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
    found = asked(study.run, again, allow_leak=("data",)).leaks
    assert {leak.kind for leak in found} == {"data"}


def test_masks_that_were_drawn_anew(study, tmp_path):
    cases = belly()
    image, label = cases["case2"]
    cases["case2"] = image, np.where(label == 3, 0, label).astype(np.uint8) + 3 * (np.roll(label, 1, 0) == 3)
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
        claim(gather(saved.read(run.folder)[0]), write=False)


@pytest.mark.parametrize("what", ["config", "split", "provenance", "gone"])
def test_a_run_that_was_edited_after_training(study, tmp_path, what):
    folder = copied(study, tmp_path)
    path = folder / (identity.NAME if what == "provenance" else "config.json")
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
        (folder / identity.NAME).unlink()
    with pytest.raises(BadInput, match="was changed after training"):
        opened(folder)


def test_a_run_that_was_moved_with_its_data_is_what_it_was(study, tmp_path):
    folder = copied(study, tmp_path)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["config"]["data"] = ["/elsewhere"]
    path.write_text(json.dumps(values, indent=3))
    assert opened(folder).provenance[0].by == str(folder)


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
    """Prepare the study with its spleens labelled once more, by another name, as scans of the same people."""
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
    with pytest.raises(BadInput, match=rf"trained on {other} \(spleen by its masks\).*--allow-leak organs"):
        gather(config)
    assert gather(dataclasses.replace(config, test_organs=("spleen", other))).notes == ()
    left_by(dataclasses.replace(config, allow_leak=("organs",)))
    with pytest.raises(BadInput, match="trained with --allow-leak organs: begin with another"):
        held = Split(("liver",), (), (), (), ())
        refuse_begun(identity.provenance_of(config.workdir), held, Config())


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
    second = configured(data, tmp_path / "run", begin=first.workdir, train_organs=("liver",))
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
    assert any(note.startswith("milz and spleen are one structure by their masks") for note in made.notes)
    with pytest.raises(BadInput, match=r"trained on milz \(spleen by its masks\)"):
        gather(configured(tmp_path / "out", tmp_path / "run"))


def test_an_organ_of_a_test_that_trained_under_another_name(study, tmp_path):
    """In the data of the test both names are there, and one of them was trained on."""
    folder = decathlon(tmp_path / "clinic", belly(7, 8), names=ORGANS)
    again = decathlon(tmp_path / "twice", only(belly(7, 8), 1), names=("milz",))
    how = dict(size=16, workers=1, same_patients=["clinic", "twice"])
    prepare([folder, again], tmp_path / "out", **how)
    with pytest.raises(BadInput, match=r"trained on liver \(milz by its masks\).*--allow-leak organs"):
        asked(study.run, tmp_path / "out", organs=("milz",))


# --- one person in two data sets


def two_series(root: Path, **how):
    """T1 and T2 of six people: other voxels, the same ids."""
    t1 = decathlon(root / "t1", {f"{n:03}": scan(n) for n in range(6)}, names=ORGANS)
    t2 = decathlon(root / "t2", {f"{n:03}": scan(90 + n) for n in range(6)}, names=ORGANS)
    return prepare([t1, t2], root / "out", size=16, workers=1, **how), root / "out"


def sides(data: Path):
    """Say on which sides each person is, by the id alone."""
    made = split(open_shards([data]), test_organs=["spleen"], val_organs=[], seed=0)
    own = [{name.split("/")[-1] for name in names} for names in made[3:]]
    return own, made


def test_one_id_in_two_data_sets_is_told_and_can_be_joined(tmp_path):
    made, data = two_series(tmp_path / "apart")
    told = [note for note in made.notes if "--same-patients t1 t2" in note]
    assert len(told) == 1 and told[0].startswith("6 patient(s) of t1 and t2 have the same id, as 000")
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
        folder = decathlon(tmp_path / name, belly(*((0, 1) if name == "t1" else (5, 6))), names=ORGANS)
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


# --- settings, searches, and transfer


def search(run: Run, name: str = "1", **changes) -> None:
    found = {row: Found(Finetune("adam", 0.01, 2), {}, ()) for row in ("adapted", "scratch")}
    seen = searched_on(run, validation_pool(run))._replace(**changes)
    kept.save(run.folder, name, found, {}, None, seen)


LENDERS = {
    "its validation organ": (dict(val_organs=("spleen",), test_organs=("kidney",)), "tuned on spleen"),
    "its validation patients": (dict(test_patients=("belly/case0", "belly/case1")), "tuned on belly/case2"),
}


@pytest.mark.parametrize("which", LENDERS)
@pytest.mark.parametrize("remembered", [True, False])
def test_settings_that_were_chosen_on_what_is_tested(study, tmp_path, which, remembered):
    changes, told = LENDERS[which]
    lender = left_by(configured(study.data, tmp_path / "lender", **changes))
    search(lender)
    if not remembered:  # as an earlier version left it
        values = json.loads((lender.folder / "tuning.json").read_text())
        values["1"] = {"found": values["1"]["found"], "transfer": None}
        (lender.folder / "tuning.json").write_text(json.dumps(values))
    with pytest.raises(BadInput, match=f"the search of .*lender was {told}.*--allow-leak settings"):
        asked(study.run, settings=lender.folder)
    found = asked(study.run, settings=lender.folder, allow_leak=("settings",)).leaks
    assert {leak.kind for leak in found} == {"settings"}


def test_settings_that_were_chosen_on_scans_under_test_of_other_names(study, tmp_path):
    named = {f"scan{n}": each for n, each in enumerate(belly().values())}
    other = write(tmp_path, "other", clinic=(named, ORGANS))
    lender = left_by(configured(other, tmp_path / "lender", test_patients=("clinic/scan0",)))
    search(lender)
    with pytest.raises(BadInput, match="tuned on clinic/scan2, voxel for voxel belly/case2"):
        asked(study.run, settings=lender.folder)


def test_settings_of_the_same_split_are_lent(study, tmp_path):
    lender = left_by(configured(study.data, tmp_path / "lender", seed=4))
    search(lender)
    assert asked(study.run, settings=lender.folder).leaks == ()


def test_a_search_that_was_copied_from_another_run(study, tmp_path):
    other = left_by(configured(study.data, tmp_path / "other", seed=4))
    search(other)
    mine = opened(copied(study, tmp_path))
    shutil.copy(other.folder / "tuning.json", mine.folder)
    for use in (
        lambda: kept.read(mine.folder, "1"),
        lambda: kept.method_setting(mine, 1, kept.Protocol()),
        lambda: asked(study.run, settings=mine.folder),
    ):
        with pytest.raises(BadInput, match="its search at 1 was of another run.*--tune"):
            use()
    search(mine, "5")  # a new search drops what is another's
    assert set(kept.stored(mine.folder)) == {"5"}
    moved = Path(shutil.copytree(mine.folder, tmp_path / "moved"))
    assert set(kept.read(moved, "5")) == {"adapted", "scratch"}, "but a run may be moved with its own"


def test_a_search_of_an_earlier_checkpoint(study, tmp_path):
    run = left_by(configured(study.data, tmp_path / "run", seed=2))
    search(run)
    given = gather(run.config)
    with checkpoint.open_checkpoints(run.folder / "checkpoints") as checkpoints:
        checkpoint.save(checkpoints, 2, {"a": np.zeros(1)}, {"b": np.zeros(1)}, None, claim(given))
    with pytest.raises(BadInput, match="or of another checkpoint of this one"):
        kept.read(run.folder, "1")


def test_a_search_is_kept_by_how_many_patients_lend():
    names = {kept.searched_as(5, kept.Protocol(patients=n)) for n in (1, 2, 3)}
    assert names == {"5", "5, 2 patients", "5, 3 patients"}


@pytest.mark.parametrize("how", ["chosen", "begun"])
def test_a_transfer_run_that_has_seen_what_is_tested(study, tmp_path, monkeypatch, how):
    changes = dict(test_organs=(), val_organs=("spleen",))
    seen = left_by(configured(study.data, tmp_path / "seen", **changes))
    if how == "begun":  # it holds the organ out, but stands on one that did not
        blind = dict(test_organs=(), val_organs=(), train_organs=("liver",), begin=seen.folder)
        seen = left_by(configured(study.data, tmp_path / "begun", **blind))
    monkeypatch.setattr("experiments.testing.choosing.open_run", lambda folder: opened(folder))
    options = Options(run=(), baselines="all", transfer=(seen.folder,))
    with pytest.raises(BadInput, match="seen was chosen on spleen, which is held out.*--transfer"):
        transfer_run(study.run, options, 0, asked(study.run))
    monkeypatch.setattr("experiments.testing.choosing.open_run", lambda folder: study.run)
    assert transfer_run(study.run, options, 0, asked(study.run)) == study.run


# --- the chain of beginnings


def test_what_a_beginning_began_with_is_known_when_it_is_gone(study, tmp_path):
    first = left_by(configured(study.data, tmp_path / "a", test_organs=(), val_organs=()))
    narrow = dict(test_organs=(), val_organs=(), train_organs=("liver",), begin=first.folder)
    second = left_by(configured(study.data, tmp_path / "b", **narrow))
    shutil.rmtree(first.folder)
    with pytest.raises(BadInput, match="a was trained on spleen, which is held out here"):
        gather(configured(study.data, tmp_path / "c", begin=second.folder, val_organs=()))
    with pytest.raises(BadInput, match="a was trained on spleen"):
        network_of(second.folder, study.run.split._replace(val_organs=()), study.run.config)


def test_what_a_beginning_saw_of_patients_and_scans(study, tmp_path):
    """Under the names of another data set, and in data that the run itself does not draw from."""
    named = {f"scan{n}": each for n, each in enumerate(belly().values())}
    other = write(tmp_path, "other", clinic=(named, ("lung", "aorta", "rib")))
    blind = dict(test_organs=(), val_organs=(), test_patients=())
    first = left_by(configured(other, tmp_path / "first", **blind))
    with pytest.raises(BadInput, match="first was trained on clinic/scan2, voxel for voxel belly/case2"):
        gather(configured(study.data, tmp_path / "run", begin=first.folder))
    blind["train_organs"] = ("liver",)
    second = left_by(configured(study.data, tmp_path / "second", **blind))
    with pytest.raises(BadInput, match="second was trained on belly/case2.*--allow-leak patients"):
        gather(configured(study.data, tmp_path / "run", begin=second.folder))


def test_a_run_that_kept_names_alone_is_known_by_them_and_says_so(study, tmp_path):
    """As an earlier version left it: no provenance.json, and checkpoints without a signature."""
    (tmp_path / "config.json").write_text((study.folder / "config.json").read_text())
    trained, chosen = identity.provenance_of(tmp_path)
    assert trained.organs == ("liver",) and trained.patients == study.run.split.train_patients
    assert chosen.organs == ("kidney",) and not trained.contents
    assert unknowns([trained, chosen]) == [
        f"{tmp_path}, trained before scans were remembered: by names alone"
    ]
    again = configured(study.data, tmp_path / "run", begin=tmp_path, test_organs=("liver",))
    with pytest.raises(BadInput, match="was trained on liver"):
        gather(dataclasses.replace(again, val_organs=()))


def test_converted_weights_are_named_through_what_began_with_them(study, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / SIZE).write_text("{}")
    first = configured(study.data, tmp_path / "first", begin=weights)
    claim(gather(first))
    on = dataclasses.replace(study.run.config, algorithm="ssm-sam", begin=first.workdir)
    text = stands_on(on)
    assert f"{weights}, trained elsewhere on what is not checked here" in text
    assert "none of these" not in text
    clean = dataclasses.replace(on, begin=study.folder)
    assert stands_on(clean).endswith("trained here for 0 steps, on none of these organs or patients")
    assert "none of these" not in stands_on(clean, ("patients",))


# --- comparisons, and one's own scans


def test_a_test_with_a_leak_is_not_set_beside_one_without_unsaid(study):
    def outcome(folder, leaks):
        usual = dict.fromkeys(Outcome._fields, None)
        return Outcome(**(usual | {"folder": Path(folder), "leaks": leaks}))

    ours, theirs = outcome("a", ("settings",)), outcome("b", ())
    both = [(each.folder, each.leaks) for each in (theirs, ours)]
    with pytest.raises(BadInput, match="a is tested with the leak settings, b without.*--allow-leak settings"):
        summary.refuse_other_leaks(both, ())
    summary.refuse_other_leaks(both, ("settings",))
    summary.refuse_other_leaks([both[1]] * 2, ())
    assert whose("settings", [ours, theirs]) == "settings (a)"
    assert whose("settings", [ours]) == "settings"
    with pytest.raises(BadInput, match="a run is trained with it"):
        check(Options(run=(Path("a"),), allow_leak=("target-labels",)))


def test_a_scan_that_the_run_was_trained_on_is_told_when_it_is_predicted(study, tmp_path, capsys):
    reading = reading_for(study.run)
    images = [save(tmp_path / f"{n}.nii.gz", scan(n)[0].astype(np.float32)) for n in (0, 2)]
    for image in images * 2:
        read_scan(image, reading)
    assert capsys.readouterr().out.splitlines() == [
        f"note: {images[0]} is belly/case0, voxel for voxel, which {study.folder} was trained on: what it "
        "makes of it says nothing of new scans"
    ]
    read_scan(images[0], Reading(16, None, "axial", "mr"))
    assert not capsys.readouterr().out


@pytest.mark.slow
def test_a_trained_run_is_signed_and_a_leak_stands_with_its_scores(run, scanned, tmp_path, capsys):
    """The whole way: training, a test that is refused, the same test with the leak allowed, its report."""
    made = open_run(run)
    assert made.provenance[0].contents.keys() < {
        volume.fingerprint for volume in open_data(made.config).volumes
    }
    root = tmp_path / "clinic"
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
        for n, patient in enumerate((*made.split.train_patients[:1], *made.split.test_patients[:1])):
            file = scanned / "belly" / part / f"{patient.split('/')[1]}.nii.gz"
            shutil.copy(file, root / part / f"n{n}.nii.gz")
    about = json.loads((scanned / "belly" / "dataset.json").read_text())
    pairs = [{"image": f"./imagesTr/n{n}.nii.gz", "label": f"./labelsTr/n{n}.nii.gz"} for n in (0, 1)]
    (root / "dataset.json").write_text(json.dumps(about | {"name": "clinic", "training": pairs}))
    prepare([root], tmp_path / "out", size=16, workers=1)
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    options = Options(run=(mine,), data=(tmp_path / "out",), shots=(1,), draws=1, baselines="none")
    with pytest.raises(BadInput, match="voxel for voxel clinic/n0.*--allow-leak contents"):
        meta_test.test(options)
    capsys.readouterr()
    (outcome,) = meta_test.test(dataclasses.replace(options, masks=False, allow_leak=("contents",)))
    printed = capsys.readouterr().out
    assert outcome.leaks == ("contents",) and "LEAKS contents" in printed
    assert "LEAK contents: " in printed and "never seen" not in printed
    report = json.loads((mine / "report" / "summary.json").read_text())
    assert report["runs"][0]["leaks"] == ["contents"]
    path = mine / "config.json"
    path.write_text(path.read_text().replace('"spleen"', '"liver"'))
    with pytest.raises(BadInput, match="is on the|was changed after training"):
        meta_test.test(options)
    path.write_text((run / "config.json").read_text().replace('"steps": 4', '"steps": 5'))
    with pytest.raises(BadInput, match="was changed after training"):
        open_run(mine)


# --- properties


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_scan_of_training_is_ever_in_the_pool_of_a_test(study, data):
    """Whatever is doubled, under whatever names: the run is refused, or what it draws is not tested."""
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
    found = leaks(own, held_by(tested, ()))
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
