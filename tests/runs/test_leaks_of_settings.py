"""What settings, transfer runs and beginnings have seen, to the end of the chain: refused, or
told."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxmeta.commands import compare, test
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.errors import BadInput
from jaxmeta.evaluation import settings as kept
from jaxmeta.evaluation.finetune import Finetune, Tuned
from jaxmeta.evaluation.leaks import searched_on
from jaxmeta.evaluation.outcome import Outcome
from jaxmeta.evaluation.protocol import Conditions
from jaxmeta.evaluation.test_plan import Options, check
from jaxmeta.evaluation.tuned import transfer_run
from jaxmeta.evaluation.tuning import head_of, validation_pool
from jaxmeta.inference.run_reading import known_scans, reading_for, teller
from jaxmeta.inference.scan import read_scan
from jaxmeta.methods.ssm_sam.method import SelfSampling
from jaxmeta.models.sam.files import SIZE
from jaxmeta.reports.run import whose
from jaxmeta.runs import signature
from jaxmeta.runs.build import open_data
from jaxmeta.runs.claim import claim
from jaxmeta.runs.provenance import unknowns
from jaxmeta.runs.run import Run, network_of, open_run, stands_on
from jaxmeta.runs.setup import gather
from jaxmeta.training import checkpoint
from tests.helpers.leaking import (
    ORGANS,
    asked,
    belly,
    configured,
    copied,
    left_by,
    opened,
    scan,
    write,
)
from tests.helpers.scans import save

# --- settings, searches, and transfer


def search(run: Run, name: str = "1", transfer: Run | None = None) -> None:
    found = {row: Tuned(Finetune("adam", 0.01, 2)) for row in ("adapted", "scratch")}
    seen, others = searched_on(run, validation_pool(run)), transfer.provenance if transfer else ()
    kept.save(run.folder, name, found, {}, kept.which(transfer), seen, others)


CHOSEN_ON = {
    "its validation organ": (
        dict(val_organs=("spleen",), test_organs=("kidney",)),
        "tuned on spleen",
    ),
    "its validation patients": (
        dict(test_patients=("belly/case0", "belly/case1")),
        "tuned on belly/case2",
    ),
}


@pytest.mark.parametrize("which", CHOSEN_ON)
@pytest.mark.parametrize("remembered", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_settings_that_were_chosen_on_what_is_tested(study, tmp_path, which, remembered):
    changes, told = CHOSEN_ON[which]
    other = left_by(configured(study.data, tmp_path / "searched", **changes))
    search(other)
    if not remembered:  # as an earlier version left it
        values = json.loads((other.folder / "tuning.json").read_text())
        values["1"] = {"found": values["1"]["found"], "transfer": None}
        (other.folder / "tuning.json").write_text(json.dumps(values))
    told = f"the search of .*searched was {told}.*`allow_leak=settings`"
    with pytest.raises(BadInput, match=told):
        asked(study.run, tuned_on=other.folder)
    found = asked(study.run, tuned_on=other.folder, allow_leak=("settings",)).leaks
    assert {leak.kind for leak in found} == {"settings"}


def test_settings_that_were_chosen_on_scans_under_test_of_other_names(study, tmp_path):
    named = {f"scan{n}": each for n, each in enumerate(belly().values())}
    other = write(tmp_path, "other", clinic=(named, ORGANS))
    other = left_by(configured(other, tmp_path / "searched", test_patients=("clinic/scan0",)))
    search(other)
    with pytest.raises(BadInput, match="tuned on clinic/scan2, voxel for voxel belly/case2"):
        asked(study.run, tuned_on=other.folder)


TRAINED = {
    "the organ": (dict(test_organs=("liver",), train_organs=("spleen",)), "trained on spleen"),
    "patients": (dict(test_patients=("belly/case0", "belly/case1")), "trained on belly/case2"),
}


@pytest.mark.parametrize("which", TRAINED)
@pytest.mark.parametrize("how", ["itself", "what it began with", "the transfer run that it tuned"])
def test_settings_of_a_run_that_learned_from_what_is_tested(study, tmp_path, which, how):
    """Its search asked about kidneys, which are not."""
    changes, told = TRAINED[which]
    elsewhere = write(tmp_path, "elsewhere", clinic=(belly(6, 7, 8), ORGANS))
    other = left_by(configured(study.data, tmp_path / "seen", **changes))
    clean = dict(test_patients=("clinic/case0",), train_organs=("liver",))
    transfer = None
    if how == "what it began with":
        clean |= dict(init_from=other.folder, allow_leak=("organs", "patients"))
        other = left_by(configured(elsewhere, tmp_path / "searched", **clean))
    elif how == "the transfer run that it tuned":
        transfer, other = other, left_by(configured(elsewhere, tmp_path / "searched", **clean))
    search(other, transfer=transfer)
    told = told.replace("trained on b", "tuned on b") if how == "itself" else told
    with pytest.raises(BadInput, match=f"seen was {told}.*`allow_leak=settings`"):
        asked(study.run, tuned_on=other.folder)
    found = asked(study.run, tuned_on=other.folder, allow_leak=("settings",)).leaks
    assert {leak.kind for leak in found} == {"settings"}


def test_a_search_that_kept_no_transfer_run_is_asked_of_the_one_beside_it(study, tmp_path):
    other = left_by(configured(study.data, tmp_path / "searched", seed=4))
    search(other)
    changes = dict(test_organs=("liver",), train_organs=("spleen",))
    transfer = left_by(configured(study.data, other.folder / "transfer", **changes))
    values = json.loads((other.folder / "tuning.json").read_text())
    values["1"]["transfer"] = kept.which(transfer)
    (other.folder / "tuning.json").write_text(json.dumps(values))
    with pytest.raises(BadInput, match="searched/transfer was trained on spleen.*leak=settings`"):
        asked(study.run, tuned_on=other.folder)


def test_settings_of_the_same_split_are_lent(study, tmp_path):
    other = left_by(configured(study.data, tmp_path / "searched", seed=4))
    search(other)
    assert asked(study.run, tuned_on=other.folder).leaks == ()


def test_a_search_that_was_copied_from_another_run(study, tmp_path):
    other = left_by(configured(study.data, tmp_path / "other", seed=4))
    search(other)
    mine = opened(copied(study, tmp_path))
    shutil.copy(other.folder / "tuning.json", mine.folder)
    for use in (
        lambda: kept.read_tuned(mine.folder, "1"),
        lambda: kept.method_setting(mine, 1, Conditions()),
        lambda: asked(study.run, tuned_on=mine.folder),
    ):
        with pytest.raises(BadInput, match="its search at 1 was of another run.*`tune`"):
            use()
    heads = [head_of(run, (), None, Conditions()) for run in (mine, other, study.run)]
    assert heads[0] == heads[2] != heads[1], "nor does a search go on from what another's has found"
    search(mine, "5")  # a new search drops what is another's
    assert set(kept.stored(mine.folder)) == {"5"}
    moved = Path(shutil.copytree(mine.folder, tmp_path / "moved"))
    assert set(kept.read_tuned(moved, "5")) == {"adapted", "scratch"}, (
        "but a run may be moved with its own"
    )


def test_a_search_of_an_earlier_checkpoint(study, tmp_path):
    run = left_by(configured(study.data, tmp_path / "run", seed=2))
    search(run)
    given = gather(run.config)
    with checkpoint.open_checkpoints(run.folder / "checkpoints") as checkpoints:
        checkpoint.save(checkpoints, 2, {"a": np.zeros(1)}, {"b": np.zeros(1)}, None, claim(given))
    with pytest.raises(BadInput, match="or of another checkpoint of this one"):
        kept.read_tuned(run.folder, "1")


def test_a_search_is_kept_by_how_many_support_patients_there_are():
    names = {kept.searched_as(5, Conditions(patients=n)) for n in (1, 2, 3)}
    assert names == {"5", "5, 2 patients", "5, 3 patients"}


@pytest.mark.parametrize("how", ["chosen", "begun"])
def test_a_transfer_run_that_has_seen_what_is_tested(study, tmp_path, monkeypatch, how):
    changes = dict(test_organs=(), val_organs=("spleen",))
    seen = left_by(configured(study.data, tmp_path / "seen", **changes))
    if how == "begun":  # it holds the organ out, but stands on one that did not
        blind = dict(test_organs=(), val_organs=(), train_organs=("liver",), init_from=seen.folder)
        seen = left_by(configured(study.data, tmp_path / "begun", **blind))
    monkeypatch.setattr("jaxmeta.evaluation.tuned.open_run", lambda folder: opened(folder))
    options = Options(run=(), baselines="all", transfer=(seen.folder,))
    with pytest.raises(BadInput, match="seen was chosen on spleen, which is held out.*`transfer`"):
        transfer_run(study.run, options, 0, asked(study.run))
    monkeypatch.setattr("jaxmeta.evaluation.tuned.open_run", lambda folder: study.run)
    assert transfer_run(study.run, options, 0, asked(study.run)) == study.run


# --- the chain of beginnings


def test_what_a_beginning_began_with_is_known_when_it_is_gone(study, tmp_path):
    first = left_by(configured(study.data, tmp_path / "a", test_organs=(), val_organs=()))
    narrow = dict(test_organs=(), val_organs=(), train_organs=("liver",), init_from=first.folder)
    second = left_by(configured(study.data, tmp_path / "b", **narrow))
    shutil.rmtree(first.folder)
    with pytest.raises(BadInput, match="a was trained on spleen, which is held out here"):
        gather(configured(study.data, tmp_path / "c", init_from=second.folder, val_organs=()))
    with pytest.raises(BadInput, match="a was trained on spleen"):
        network_of(second.folder, study.run.split._replace(val_organs=()), study.run.config)


def test_what_a_beginning_saw_of_patients_and_scans(study, tmp_path):
    """Under the names of another data set, and in data that the run itself does not draw from."""
    named = {f"scan{n}": each for n, each in enumerate(belly().values())}
    other = write(tmp_path, "other", clinic=(named, ("lung", "aorta", "rib")))
    blind = dict(test_organs=(), val_organs=(), test_patients=())
    first = left_by(configured(other, tmp_path / "first", **blind))
    config = configured(study.data, tmp_path / "run", init_from=first.folder)
    with pytest.raises(BadInput, match=r"first was trained on rib \(spleen by its masks\)"):
        gather(dataclasses.replace(config, val_organs=()))
    with pytest.raises(
        BadInput, match="first was trained on clinic/scan2, voxel for voxel belly/case2"
    ):
        gather(dataclasses.replace(config, allow_leak=("organs",)))
    blind["train_organs"] = ("liver",)
    second = left_by(configured(study.data, tmp_path / "second", **blind))
    with pytest.raises(BadInput, match="second was trained on belly/case2.*`allow_leak=patients`"):
        gather(configured(study.data, tmp_path / "run", init_from=second.folder))


def test_a_run_that_kept_names_alone_is_known_by_them_and_says_so(study, tmp_path):
    """As an earlier version left it: no provenance.json, and checkpoints without a signature."""
    (tmp_path / "config.json").write_text((study.folder / "config.json").read_text())
    trained, chosen = signature.provenance_of(tmp_path)
    assert trained.organs == ("liver",) and trained.patients == study.run.split.train_patients
    assert chosen.organs == ("kidney",) and not trained.contents
    assert unknowns([trained, chosen]) == [
        f"{tmp_path}, trained before scans were remembered: by names alone"
    ]
    again = configured(study.data, tmp_path / "run", init_from=tmp_path, test_organs=("liver",))
    with pytest.raises(BadInput, match="was trained on liver"):
        gather(dataclasses.replace(again, val_organs=()))


def test_converted_weights_are_named_through_what_began_with_them(study, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / SIZE).write_text("{}")
    first = configured(study.data, tmp_path / "first", init_from=weights)
    claim(gather(first))
    on = dataclasses.replace(study.run.config, method=SelfSampling(), init_from=first.workdir)
    text = stands_on(on)
    assert f"{weights}, trained elsewhere on what is not checked here" in text
    assert "none of these" not in text
    clean = dataclasses.replace(on, init_from=study.folder)
    assert stands_on(clean).endswith(
        "trained here for 0 steps, on none of these organs or patients"
    )
    assert "none of these" not in stands_on(clean, ("patients",))


# --- comparisons, and one's own scans


def test_a_test_with_a_leak_is_not_set_beside_one_without_unsaid(study):
    def outcome(folder, leaks):
        usual = dict.fromkeys(Outcome._fields, None)
        return Outcome(**(usual | {"folder": Path(folder), "leaks": leaks}))

    ours, theirs = outcome("a", ("settings",)), outcome("b", ())
    both = [(each.folder, each.leaks) for each in (theirs, ours)]
    with pytest.raises(
        BadInput, match="a is tested with the leak settings, b without.*--allow-leak settings"
    ):
        compare.refuse_other_leaks(both, ())
    compare.refuse_other_leaks(both, ("settings",))
    compare.refuse_other_leaks([both[1]] * 2, ())
    assert whose("settings", [ours, theirs]) == "settings (a)"
    assert whose("settings", [ours]) == "settings"
    with pytest.raises(BadInput, match="a run is trained with it"):
        check(Options(run=(Path("a"),), allow_leak=("target-labels",)))


def test_a_scan_that_the_run_was_trained_on_is_told_when_it_is_predicted(study, tmp_path, capsys):
    run, reading = study.run, reading_for(study.run)
    images = [save(tmp_path / f"{n}.nii.gz", scan(n)[0].astype(np.float32)) for n in (0, 2)]

    def notes(**known):
        told = reading._replace(tell=teller(run.folder, run.config, reading, **known))
        for image in images * 2:
            read_scan(image, told)
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]

    assert notes(known=known_scans(run.provenance)) == [
        f"note: {images[0]} is belly/case0, voxel for voxel, which {study.folder} was trained on: "
        "what it makes of it says nothing of new scans"
    ]
    assert notes(known=known_scans(run.provenance), supports=images) == [
        f"note: {images[0]} is belly/case0, voxel for voxel, which {study.folder} was trained on: "
        "the run has seen this support scan"
    ]
    assert notes() == []


@pytest.mark.slow
def test_a_trained_run_is_signed_and_a_leak_stands_with_its_scores(run, scanned, tmp_path, capsys):
    """The whole way: training, a test that is refused, the same test with the leak allowed, its
    report."""
    made = open_run(run)
    assert made.provenance[0].contents.keys() < {
        volume.fingerprint for volume in open_data(made.config).volumes
    }
    root = tmp_path / "clinic"
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
        for n, patient in enumerate(
            (*made.split.train_patients[:1], *made.split.test_patients[:1])
        ):
            file = scanned / "belly" / part / f"{patient.split('/')[1]}.nii.gz"
            shutil.copy(file, root / part / f"n{n}.nii.gz")
    about = json.loads((scanned / "belly" / "dataset.json").read_text())
    pairs = [
        {"image": f"./imagesTr/n{n}.nii.gz", "label": f"./labelsTr/n{n}.nii.gz"} for n in (0, 1)
    ]
    (root / "dataset.json").write_text(json.dumps(about | {"name": "clinic", "training": pairs}))
    prepare([root], tmp_path / "out", size=16, workers=1)
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    options = Options(
        run=(mine,), data=(tmp_path / "out",), shots=(1,), support_sets=1, baselines="none"
    )
    with pytest.raises(BadInput, match="voxel for voxel clinic/n0.*`allow_leak=contents`"):
        test.test(options)
    capsys.readouterr()
    (outcome,) = test.test(dataclasses.replace(options, save_masks=False, allow_leak=("contents",)))
    printed = capsys.readouterr().out
    assert outcome.leaks == ("contents",) and "LEAKS contents" in printed
    assert "LEAK contents: " in printed and "never seen" not in printed
    report = json.loads((mine / "report" / "summary.json").read_text())
    assert report["runs"][0]["leaks"] == ["contents"]
    path = mine / "config.json"
    path.write_text(path.read_text().replace('"spleen"', '"liver"'))
    with pytest.raises(BadInput, match="is on the|was changed after training"):
        test.test(options)
    path.write_text((run / "config.json").read_text().replace('"steps": 4', '"steps": 5'))
    with pytest.raises(BadInput, match="was changed after training"):
        open_run(mine)
