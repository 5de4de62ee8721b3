"""SSM-SAM from the command line: on Segment Anything that it trains first, tested both ways, and
what is refused."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import nibabel as nib
import numpy as np
import pytest

from jaxmeta.commands import test
from jaxmeta.data.released import ReleasedSlices
from jaxmeta.errors import BadInput, Occupied
from jaxmeta.evaluation import settings, tuning
from jaxmeta.evaluation.baselines import METHOD, random_row
from jaxmeta.evaluation.protocols.released import RELEASED
from jaxmeta.evaluation.stages import on_tiny
from jaxmeta.evaluation.test_plan import Options
from jaxmeta.inference.predict import Options as Predict
from jaxmeta.inference.predict import predict
from jaxmeta.methods.networks import segment_anything
from jaxmeta.methods.networks.segment_anything import Sam
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.methods.options import Chunks, Episodes, SetLoss
from jaxmeta.methods.ssm_sam import method as ssm_sam
from jaxmeta.methods.ssm_sam.method import SSM_SAM, SelfSampling
from jaxmeta.methods.ssm_sam.released import Released
from jaxmeta.methods.testing import OWN, Grid
from jaxmeta.models.sam import Size
from jaxmeta.models.sam.files import write_size, write_weights
from jaxmeta.models.sam.resize import for_image
from jaxmeta.runs import checks, config_file, feature_cache
from jaxmeta.runs.presets import PRESETS, STILL, USUAL, with_method
from jaxmeta.runs.run import open_run
from jaxmeta.runs.train import meta_train as train

RANDOM = random_row(SSM_SAM)
WITHIN = dict(protocol="within-volume", neighbors=3)
SMALL = Size(8, 4, 1, (1,), image=16, patch=4, window=2, features=8, hidden=8, num_heads=1)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Let sam-tiny be smaller still."""
    before = segment_anything.SIZES["tiny"]
    segment_anything.SIZES["tiny"] = SMALL
    yield
    segment_anything.SIZES["tiny"] = before


@pytest.fixture(scope="module")
def begun(config, tmp_path_factory):
    """The configuration of SSM-SAM on the small data; its Segment Anything is trained on the
    way."""
    root = tmp_path_factory.mktemp("prompted")
    small = with_method(config, USUAL[SelfSampling]["method"])
    tasks = dataclasses.replace(small.tasks, size=16, shots=1, queries=1, batch_size=2)
    method = dataclasses.replace(small.method, steps=1, test_steps=1)
    own = dict(workdir=root / "run", tasks=tasks, method=method, steps=1, augment=STILL)
    small = dataclasses.replace(small, **own, validation_tasks=2)
    few = dict(size=16, shots=1, queries=1, batch_size=1)
    quick = dataclasses.replace(
        PRESETS["sam-tiny"].config,
        tasks=dataclasses.replace(PRESETS["sam-tiny"].config.tasks, **few),
        steps=2,
        checkpoint_every=1,
        validation_tasks=2,
    )
    before = PRESETS["sam-tiny"]
    PRESETS["sam-tiny"] = before._replace(config=quick)
    try:
        small = on_tiny(small)
    finally:
        PRESETS["sam-tiny"] = before
    assert small.init_from == root / "run" / "sam"
    return small


@pytest.fixture(scope="module")
def run(begun):
    assert train(begun)
    return begun.workdir


@pytest.mark.slow
def test_the_frozen_encoder_is_that_of_the_other_run_and_in_no_checkpoint(begun, run, capsys):
    found, first = open_run(run).state, open_run(begun.init_from).state
    own, theirs = (
        jax.tree.leaves(meta.backbone["image_encoder"])
        if meta is found.meta
        else jax.tree.leaves(meta.learned["theta"]["image_encoder"])
        for meta in (found.meta, first.meta)
    )
    for a, b in zip(own, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    kept = [p for p in (run / "checkpoints").rglob("*") if p.is_file()]
    names = "".join(p.read_text(errors="ignore") for p in kept if p.name == "_METADATA")
    assert "adapter" in names and "image_encoder" not in names
    assert train(begun)  # which has nothing left to do, and says what is trained
    count = sum(leaf.size for leaf in jax.tree.leaves(found.meta.learned))
    assert f"learns: {count:,} parameters on a frozen image encoder" in capsys.readouterr().out


@pytest.fixture(scope="module")
def searched(run):
    """What a search within volumes keeps beside the run, which its tests read."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ssm_sam, "OWN_GRID", Grid((1.0, 100.0), (1,)))
        patched.setattr(tuning, "search", partial(tuning.search, rounds=1))
        test.test(Options(run=(run,), **WITHIN, only_tune=True))
    return config_file.read_json(run / "tuning.json")


@pytest.mark.slow
def test_its_rate_is_searched_for_it_and_for_fresh_readers_alike(searched):
    assert set(searched) == {"1, within 3"} and set(searched["1, within 3"]["found"]) == {
        METHOD,
        RANDOM,
    }
    for of in searched["1, within 3"]["found"].values():
        scores = {tuple(score[:3]): score[3] for score in of["scores"]}
        assert set(scores) == {(OWN, 1.0, 1), (OWN, 100.0, 1)}
        assert len(set(scores.values())) == 2, "the rate changes what is found"
        assert scores[tuple(of["winner"].values())] == max(scores.values())


@pytest.mark.slow
def test_a_run_is_tested_on_whole_volumes_and_within_them(run, searched, capsys):
    options = Options(run=(run,), shots=(2,), support_sets=2, steps=(0, 1), save_masks=False)
    (outcome,) = test.test(options)
    whole = outcome.tables[0]
    assert {score.row for score in whole.scores} == {
        "adapted",
        "no adaptation",
        "nearest support mask",
        "place and intensity, no training",
        RANDOM,
    }
    curves = whole.by_steps
    assert {row: set(curve) for row, curve in curves.items()} == {METHOD: {0, 1}, RANDOM: {0, 1}}
    first = [[score.dice for score in curves[row][0]] for row in (METHOD, RANDOM)]
    assert first[0] != first[1]
    trained = "frozen image encoder trained here for 2 steps, on none of these organs or patients"
    assert f"points from the support's mask, {trained}" in capsys.readouterr().out
    within = dataclasses.replace(
        options,
        shots=(5, 1),
        support_sets=0,
        **WITHIN,
        prompt="clicks",
        as_released=0.0,
        steps=(),
    )
    (outcome,) = test.test(within)
    text = capsys.readouterr().out
    assert "slices labelled, of those that show the organ: spleen" in text
    assert "CLICKS ON THE TRUTH" in text
    (found,) = outcome.tables
    assert {
        "adapted",
        "adapted" + RELEASED,
        "nearest support mask",
        "place and intensity, no training",
    } <= {score.row for score in found.scores}
    assert found.settings == settings.read_tuned(run, "1, within 3")
    assert {s.source for s in whole.settings.values()}.isdisjoint(
        s.source for s in found.settings.values()
    ), "what was chosen within volumes is for tests within volumes"
    report = json.loads((run / "within" / "summary.json").read_text())
    title = report["tables"][0]["protocol"]
    assert "middle slice of every 3" in title
    assert f"CLICKS ON THE TRUTH, {trained}" in title
    assert (run / "report" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes, told",
    [
        (dict(prompt="clicks"), "clicks lie on the truth; add `protocol=within-volume`"),
        (dict(as_released=0.1), "`as_released`: it is for `protocol=within-volume`"),
        (dict(**WITHIN, as_released=5.0), "`as_released=5`: a Dice, from 0 to 1"),
        (
            dict(**WITHIN, largest_component=True),
            "`largest_component`: the protocol within-volume settles it",
        ),
        (WITHIN | dict(neighbors=1), "chunks of 1 slices"),
        (dict(protocol="within-volume"), "needs `neighbors`"),
        (dict(neighbors=3), "`neighbors`: it is for `protocol=within-volume`"),
        (dict(baselines="all"), "without meta-learning is a run with `method.steps=0`"),
        (dict(upper_bound=True), "nothing is pre-trained here"),
        (dict(**WITHIN, prompt="clicks", tune=True), "clicks lie on the truth; search with"),
    ],
)
def test_what_ssm_sam_is_not_asked(run, changes, told):
    with pytest.raises(BadInput, match=told):
        test.test(Options(run=(run,), **changes))


@pytest.mark.slow
def test_segment_anything_is_not_tested_by_supports_but_pointed_with(begun, scanned, tmp_path):
    with pytest.raises(BadInput, match="with `box` or `click`"):
        test.test(Options(run=(begun.init_from,)))
    image = scanned / "belly" / "imagesTr" / "case5.nii.gz"
    shape = nib.load(image).shape
    how = dict(run=begun.init_from, image=(image,))
    boxed = Predict(output=tmp_path / "box", box=("2,2,1,9,9,2",), **how)
    (path,) = predict(boxed)
    saved = nib.load(path)
    assert saved.shape == shape
    touched = np.flatnonzero(np.asarray(saved.dataobj).any((0, 1)))
    assert set(touched) <= {1, 2}
    boxes = ("2:2,2,1,9,9,2", "7:1,1,1,12,12,1")
    (path,) = predict(Predict(output=tmp_path / "two", box=boxes, probabilities=True, **how))
    maps = [
        np.asarray(nib.load(tmp_path / "two" / f"case5_prob_{value}.nii.gz").dataobj)
        for value in (2, 7)
    ]
    wanted = np.where(maps[0] >= maps[1], 2, 7) * (np.maximum(*maps) > 0.5)
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), wanted)
    assert maps[0].any() and maps[1].any()
    clicked = Predict(output=tmp_path / "click", click=("4,5,1",), click_outside=("1,1,1",), **how)
    predict(clicked)
    for words, told in (
        (dict(box=("2,2,1,9,9,99",)), "voxel 9,9,99 lies outside of the volume"),
        (dict(box=("1,2,3",)), "write X,Y,Z,X,Y,Z"),
        (dict(box=("0,0,1,3,3,1", "1,1,1,2,2,1")), "two boxes of a structure cross the same slice"),
    ):
        with pytest.raises(BadInput, match=told):
            predict(Predict(output=tmp_path / "no", **words, **how))
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_converted_weights_are_pointed_with_and_begun_with(begun, scanned, tmp_path):
    def write(folder, size, learned):
        leaves = jax.tree_util.tree_leaves_with_path(learned)
        named = ((tuple(step.key for step in path), np.asarray(leaf)) for path, leaf in leaves)
        write_weights(folder, size, named)

    learned = open_run(begun.init_from).state.meta.learned["theta"]
    write(tmp_path / "weights", SMALL, learned)
    image = scanned / "belly" / "imagesTr" / "case5.nii.gz"
    how = dict(run=tmp_path / "weights", image=(image,), box=("2,2,1,9,9,1",))
    with pytest.raises(BadInput, match="`modality=ct` or `modality=mr`"):
        predict(Predict(output=tmp_path / "out", **how))
    predict(Predict(output=tmp_path / "out", modality="mr", **how))
    larger, size = for_image(learned["image_encoder"], SMALL, 2 * SMALL.image)
    assert larger["pos_embed"].shape[0] == 8
    write(tmp_path / "larger", size, learned | {"image_encoder": larger})
    own = dict(init_from=tmp_path / "larger", network=Sam(), workdir=tmp_path / "run")
    assert train(dataclasses.replace(begun, **own, val_organs=()))
    encoder = open_run(tmp_path / "run").state.meta.backbone["image_encoder"]
    assert encoder["pos_embed"].shape[0] == 4, "tables are fitted"


@pytest.mark.slow
def test_a_run_on_kept_prefixes_learns_what_one_on_pixels_does(begun, run, tmp_path, monkeypatch):
    kept = dataclasses.replace(begun, workdir=tmp_path / "kept", feature_cache=tmp_path / "cache")
    assert train(kept)
    both = (jax.tree.leaves(open_run(folder).state.meta.learned) for folder in (run, kept.workdir))
    for pixels, prefixes in zip(*both, strict=True):
        np.testing.assert_allclose(prefixes, pixels, atol=1e-5)
    assert len(list(kept.feature_cache.rglob("*.npz"))) > 5
    monkeypatch.delattr(feature_cache, "load_images")
    assert train(kept), "what is kept needs no slice a second time"


@pytest.mark.parametrize(
    "part, changes",
    [
        (None, dict(released=ReleasedSlices(as_uint8=True))),
        ("tasks", dict(size=128)),
        ("method", dict(released=Released(raw_colors=True))),
        ("method", dict(last_blocks=2)),
    ],
)
def test_slices_kept_of_other_images_are_refused(tmp_path, monkeypatch, part, changes):
    monkeypatch.setattr(feature_cache, "cohort_of", lambda shards: "the same")
    monkeypatch.setattr(feature_cache, "fill", lambda *whatever: None)
    monkeypatch.setattr(feature_cache, "cached", lambda *whatever: None)
    source = SimpleNamespace(pool=SimpleNamespace(shards=SimpleNamespace(volumes=())))
    config = dataclasses.replace(PRESETS["ssm-sam-tiny"].config, feature_cache=tmp_path)
    feature_cache.with_prefixes(config, source, {})
    feature_cache.with_prefixes(config, source, {})
    if part:
        changes = {part: dataclasses.replace(getattr(config, part), **changes)}
    with pytest.raises(Occupied, match="keeps slices of other data"):
        feature_cache.with_prefixes(dataclasses.replace(config, **changes), source, {})


@pytest.mark.slow
def test_a_backbone_that_saw_the_organs_under_test_is_refused(begun, tmp_path):
    other = dataclasses.replace(begun, test_organs=("liver",), workdir=tmp_path / "leak")
    with pytest.raises(BadInput, match="was trained on liver, which is held out here"):
        train(other)


@pytest.mark.parametrize(
    "part, changes, told",
    [
        (None, dict(network=Unet()), "needs Segment Anything as its network"),
        (None, dict(tasks=Episodes(size=256)), "they are ssm-sam's"),
        ("tasks", dict(size=18), "`tasks.size=18`: must be a multiple of a patch of 4 x 4 pixels"),
        ("method", dict(last_blocks=9), "has 4 blocks"),
        ("tasks", dict(width=1), "`tasks.width=1`: must be at least 2"),
        ("method", dict(released=Released(raw_colors=True)), "needs `released.as_uint8`"),
        ("method", dict(dropout=1.0), "must be below 1"),
        (None, dict(loss=SetLoss()), "it has its own"),
        ("augment", dict(flip=0.1, noise=0.1), "needs slices as they are"),
    ],
)
def test_what_ssm_sam_cannot_be_made_of(part, changes, told):
    config = PRESETS["ssm-sam-tiny"].config
    if part:
        changes = {part: dataclasses.replace(getattr(config, part), **changes)}
    cache = Path("cache") if part == "augment" else "off"
    with pytest.raises(BadInput, match=told):
        checks.check(dataclasses.replace(config, **changes, feature_cache=cache))


def test_what_is_ssm_sam_s_is_nobody_else_s():
    with pytest.raises(BadInput, match="they are ssm-sam's"):
        checks.check(dataclasses.replace(PRESETS["maml"].config, tasks=Chunks(size=64)))


def test_the_presets_of_published_size_ask_for_weights(tmp_path):
    write_size(tmp_path, segment_anything.SIZES["vit-b"])
    for name in ("ssm-sam", "ssm-sam-released"):
        with pytest.raises(BadInput, match="needs `init_from`"):
            checks.check(PRESETS[name].config)
        checks.check(dataclasses.replace(PRESETS[name].config, init_from=tmp_path))


def test_a_beginning_of_another_size_is_named(tmp_path):
    write_size(tmp_path, segment_anything.SIZES["vit-b"])
    config = dataclasses.replace(PRESETS["ssm-sam-tiny"].config, init_from=tmp_path)
    with pytest.raises(BadInput, match="is vit-b .12 blocks of width 768.*network is"):
        segment_anything.weights_of(config, segment_anything.size_of(config), None)


@pytest.mark.slow
def test_only_a_run_of_sam_is_a_beginning(begun, run):
    """A run of SSM-SAM has no image encoder of its own."""
    for network in (begun.network, Sam()):
        other = dataclasses.replace(begun, network=network, init_from=run, workdir=run / "other")
        with pytest.raises(BadInput, match="is of ssm-sam: begin with a run of sam, or a folder"):
            train(other)
