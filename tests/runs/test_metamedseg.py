"""MetaMedSeg from the command line: its presets, a run on shards, and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.commands.command import Stopped
from jaxmeta.commands.test import Options
from jaxmeta.commands.test import test as meta_test
from jaxmeta.commands.train import parse
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.evaluation import pretraining, settings, tuning
from jaxmeta.evaluation.test_plan import plan_test
from jaxmeta.methods import method_of, testing
from jaxmeta.methods.metamedseg.method import MetaMedSeg, TaskWeights
from jaxmeta.methods.networks.low_rank_sam import LowRankSam
from jaxmeta.methods.networks.segment_anything import Sam, SamTiny
from jaxmeta.methods.options import Outer, OwnLoss, Volumes
from jaxmeta.methods.parts import inner_rule
from jaxmeta.methods.testing import BY_SLICE, Grid
from jaxmeta.methods.transfer import Transfer
from jaxmeta.models.sam import SIZES
from jaxmeta.models.sam.files import write_size
from jaxmeta.runs import checks
from jaxmeta.runs.build import build, outer_rule, task_source
from jaxmeta.runs.presets import METAMEDSEG_PRESET, PRESETS, with_method
from jaxmeta.runs.run import Run, network_of, open_run
from jaxmeta.runs.train import meta_train
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import Split, split
from jaxmeta.tasks.volumetric import target_slices
from jaxmeta.training import metrics_log


@pytest.fixture
def small(config, tmp_path):
    """The method, with the network and sizes of the other tests."""
    weights = TaskWeights("meta", invert=True)
    usual = with_method(config, MetaMedSeg(steps=2, test_steps=1, task_weights=weights))
    return dataclasses.replace(
        usual,
        tasks=Volumes(size=16, shots=4, queries=2, batch_size=2),
        outer=dataclasses.replace(usual.outer, rate=0.5),
        steps=2,
        checkpoint_every=2,
        workdir=tmp_path / "run",
    )


def test_a_run_over_volumes_trains_weighs_and_is_opened_again(small):
    assert meta_train(small)
    lines = [x for x in metrics_log.read_metrics(small.workdir / "metrics.jsonl") if "loss" in x]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(
        np.isfinite(line["meta_gradient_norm"]) and line["meta_gradient_norm"] > 0 for line in lines
    )
    run = open_run(small.workdir)
    assert run.config.tasks.kind == "volumes" and run.config.method == small.method
    start = build(run.config).init(jax.random.key(small.seed)).meta.learned
    moved = optax.tree.norm(optax.tree.sub(start, run.state.meta.learned))
    assert moved > 0


def test_the_paper_s_preset_is_the_paper_s():
    config = METAMEDSEG_PRESET
    told = (config.steps, config.tasks.batch_size, config.tasks.shots, config.method.steps)
    assert told == (100, 8, 20, 20)  # meta-iterations, tasks, slices of a volume, epochs
    inner, outer = config.method, config.outer
    assert (inner.rate, inner.weight_decay, inner.decay, inner.every) == (0.01, 0.003, 0.8, 2)
    assert (inner.test_rate, inner.test_weight_decay, inner.test_decay) == (0.005, 3e-5, 0.7)
    assert (outer.optimizer, outer.rate, outer.clip) == ("sgd", 0.01, 0.0)
    variables = jax.eval_shape(build(config).init, jax.random.key(0)).meta.learned
    assert sum(a.size for a in jax.tree.leaves(variables)) == 470_977


def test_its_inner_rule_is_adam_with_the_decay_inside_as_pytorch_has_it():
    """g + w theta goes through Adam, whose first step is then rate * sign(g + w theta)."""
    inner = dataclasses.replace(METAMEDSEG_PRESET.method, clip=0.0)
    rule = inner_rule(inner, differentiated=False)(0.01)
    update = optax.chain(optax.add_decayed_weights(0.5), rule)
    theta, g = jnp.array([1.0, -2.0, 1e-6]), jnp.array([-0.1, 0.5, 1e-7])
    found, _ = update.update(g, update.init(theta), theta)
    np.testing.assert_allclose(found, -0.01 * jnp.sign(g + 0.5 * theta), rtol=0.02)


def test_runs_are_named_after_their_preset():
    assert parse(["metamedseg-small"])[0] == "metamedseg-small"
    assert parse(["--seed", "1"])[0] == parse([])[0] == "unet-maml"


def test_another_method_begins_with_its_own_outer_rule():
    config = with_method(PRESETS["metamedseg-small"].config, Transfer())
    assert config.outer == Outer(rate=2e-2)
    checks.check(config)


def test_the_transfer_baseline_of_a_run_is_a_plain_one(small, monkeypatch):
    begun = []

    def stopped(config):
        begun.append(config)
        raise Stopped("so")

    monkeypatch.setattr(pretraining, "meta_train", stopped)
    run = Run(small.workdir, small, Split((), (), (), (), ()), None, 1)
    with pytest.raises(Stopped):
        pretraining.pretrained(run, "transfer", small.augment)
    checks.check(begun[0])
    assert begun[0].outer.optimizer == "adamw" and begun[0].outer.schedule == "cosine"
    assert (
        begun[0].network == small.network
        and begun[0].tasks == small.tasks
        and begun[0].method == Transfer()
    )
    paper = PRESETS["metamedseg-small"].config
    assert with_method(paper, Transfer()).outer.rate == 2e-2
    assert with_method(small, Transfer()).outer.rate == begun[0].outer.rate == 6e-3


def test_plain_descent_goes_beta_times_the_way():
    rule = outer_rule(
        Outer(optimizer="sgd", schedule="constant", rate=0.25, warmup=0.0, clip=0.0), 9
    )
    state = rule.init(jnp.zeros(2))
    for _ in range(3):
        updates, state = rule.update(jnp.array([1.0, -4.0]), state, jnp.zeros(2))
        np.testing.assert_allclose(updates, [-0.25, 1.0])


@pytest.mark.parametrize(
    "words, message",
    [
        ("metamedseg", "`tasks.decathlon` needs `data`"),
        (
            "metamedseg-small --method.task-weights.rule uniform",
            "`method.task_weights.invert` with `method.task_weights.rule=uniform`",
        ),
        (
            "metamedseg-small --outer.weight-decay 1",
            "`outer.weight_decay` with `outer.optimizer=sgd`",
        ),
        ("metamedseg-small --method.every 0", "`method.every=0`: must be at least 1"),
        (
            "unet-maml --tasks.kind supervoxels --tasks.support-patients 2",
            "`tasks.support_patients` with `tasks.kind=",
        ),
        ("metamedseg-small --tasks.queries 0", "`tasks.queries=0`: must be at least 1"),
        (
            "transfer --tasks.kind supervoxels",
            "`tasks.kind=supervoxels` with transfer: they have no output each",
        ),
        ("metamedseg-small --tasks.least-pixels 0", "`tasks.least_pixels=0`: must be at least 1"),
    ],
)
def test_options_without_effect_are_refused(words, message):
    _, config = parse(words.split())
    with pytest.raises(BadInput, match=message):
        checks.check(config)


def test_thresholds_that_leave_nothing_are_refused(small):
    shards = open_shards(small.data)
    drawn = pool(shards, split(shards, test_organs=[], val_organs=[], seed=0), "train")
    many = dataclasses.replace(small.tasks, least_pixels=10**6)
    with pytest.raises(BadInput, match="`tasks.least_pixels=1000000`: no slice has as many"):
        task_source(dataclasses.replace(small, tasks=many), drawn)
    with pytest.raises(BadInput, match="no sub-task of the Decathlon"):
        task_source(
            dataclasses.replace(small, tasks=dataclasses.replace(small.tasks, decathlon=True)),
            drawn,
        )


@pytest.mark.parametrize(
    "words",
    [
        "unet-maml --method.task-weights.rule meta",
        "unet-maml --method.every 2",
        "unet-maml --tasks.kind volumes",
        "unet-maml --method.last-blocks 2",
        "metamedseg-small --network.groups 4",
        "unet-maml --loss.of-slice iou",
        "prototypes --method.steps 3",
        "maml --method.order 1",
    ],
)
def test_a_method_has_no_option_of_another(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(words.split())
    assert ended.value.code == 2 and words.split()[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(tasks=Volumes()), "its query teaches"),
        (dict(loss=OwnLoss()), "it has its own, or needs one"),
        (dict(network=SamTiny()), "it needs a U-Net"),
    ],
)
def test_parts_of_other_methods_are_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        checks.check(dataclasses.replace(PRESETS["unet-maml"].config, **changes))


@pytest.mark.slow
def test_a_rule_that_sees_the_target_is_a_leak_and_named_with_every_score(small):
    leaky = dataclasses.replace(
        small,
        method=dataclasses.replace(small.method, task_weights=TaskWeights("target")),
        allow_leak=("target-labels",),
        steps=1,
        checkpoint_every=1,
    )
    for half in (
        dict(allow_leak=()),
        dict(method=dataclasses.replace(small.method, task_weights=TaskWeights())),
    ):
        with pytest.raises(BadInput, match="`method.task_weights.rule=target` looks at labels"):
            checks.check(dataclasses.replace(leaky, **half))
    assert meta_train(leaky)
    (line,) = [x for x in metrics_log.read_metrics(small.workdir / "metrics.jsonl") if "loss" in x]
    assert 0 <= line["target_iou"] <= 1
    run = open_run(small.workdir)
    shown = run.state.meta.state
    assert shown.mask.any() and shown.valid.sum() == 10
    with pytest.raises(BadInput, match="was trained with `allow_leak=target-labels`"):
        network_of(small.workdir, run.split, small)
    options = Options(
        run=(small.workdir,), shots=(1,), support_sets=1, baselines="none", save_masks=False
    )
    meta_test(options)
    (table,) = json.loads((small.workdir / "report" / "summary.json").read_text())["tables"]
    assert table["protocol"].endswith("LEAKS target-labels")


@pytest.mark.slow
def test_a_run_that_may_share_patients_is_tested_slice_by_slice_and_says_so(small):
    shared = dataclasses.replace(
        small, allow_leak=("shared-patients",), steps=1, checkpoint_every=1
    )
    assert meta_train(shared)
    options = Options(run=(small.workdir,), shots=(3,), support_sets=2, upper_bound=True)
    (outcome,) = meta_test(options)
    (table,) = outcome.tables
    rows = {"adapted", "no adaptation", "scratch"}
    assert {score.row for score in table.scores} == rows | {
        "fully supervised",
        "adapted, all slices",
    }
    full = {score.support_slices for score in table.scores if score.row == "adapted, all slices"}
    (every,) = full
    tested = {score.case for score in table.scores}
    assert len(every.split()) > 3 and not tested & set(every.split())
    assert not (small.workdir / "predictions").exists()  # a slice alone is no volume
    for score, shown in table.pictures:
        (each,) = shown
        assert f"slice {score.case.rsplit(':')[-1]}" in each.title.splitlines()[1].split(", ")
        assert each.target.any()
    assert {score.support_patients for score in table.scores} == {"slices of the tested patients"}
    given = {at for score in table.scores for at in score.support_slices.split()}
    assert not given & tested
    (told,) = json.loads((small.workdir / "report" / "summary.json").read_text())["tables"]
    assert told["protocol"].endswith("LEAKS shared-patients")
    assert "slices of the same" in told["protocol"] and "never seen" not in told["protocol"]
    with pytest.raises(BadInput, match="`largest_component`: .* shared-patients settles it"):
        meta_test(dataclasses.replace(options, largest_component=True))


def test_tested_on_slices_the_five_seeds_of_the_paper_are_the_support_sets(small):
    shared = dataclasses.replace(small, allow_leak=("shared-patients",), steps=0)
    assert meta_train(shared)
    run = open_run(small.workdir)
    asked = plan_test(run, Options(run=(), shots=(3,)))
    assert asked.support_sets == 5
    for trial in asked.trials[3]:
        assert len({support.slices for support in trial.supports}) == 5


@pytest.mark.slow
def test_its_baselines_are_tuned_slice_by_slice_as_it_fine_tunes_itself(small, monkeypatch):
    assert meta_train(
        dataclasses.replace(small, steps=1, checkpoint_every=1, val_organs=("kidney",))
    )
    monkeypatch.setattr(testing, "GRIDS_BY_SLICE", {BY_SLICE: Grid((1e-3, 1e-2), (1,))})
    monkeypatch.setattr(testing, "OWN_PASSES", (1,))
    found = tuning.search_settings(open_run(small.workdir), 2, None)
    assert found["scratch"].finetune.optimizer == BY_SLICE
    assert "adam by slice, rate" in settings.describe_tuning(found["scratch"])
    assert "1 passes" in settings.describe_tuning(found["scratch"])
    options = Options(run=(small.workdir,), shots=(2,), support_sets=1, save_masks=False)
    (outcome,) = meta_test(options)
    assert {score.row for score in outcome.tables[0].scores} >= {"adapted", "scratch"}
    assert outcome.tables[0].settings["scratch"] == found["scratch"]


def test_whatever_trains_validation_takes_its_support_of_one_patient_and_asks_the_others(small):
    config = dataclasses.replace(small, tasks=dataclasses.replace(small.tasks, kind="pooled"))
    shards = open_shards(config.data)
    division = split(shards, test_organs=["spleen"], val_organs=["heart"], seed=0)
    drawn = pool(shards, division, "val")
    for index in range(20):
        episode = task_source(config, drawn, training=False).draw(0, index)
        first, *more = {shards.volumes[volume].patient for volume, _ in episode.support}
        assert not more
        assert first not in {shards.volumes[volume].patient for volume, _ in episode.query}


def test_target_slices_are_labelled_ones_of_the_training_side(small):
    shards = open_shards(small.data)
    division = split(shards, test_organs=["spleen"], val_organs=[], seed=0)
    ((organ, chosen),) = target_slices(shards, division, 10)
    assert organ == "spleen" and len(set(chosen)) == len(chosen) == 10
    for volume, number in chosen:
        assert shards.volumes[volume].patient in division.train_patients
        assert shards.volumes[volume].counts["spleen"][number] > 0
    belly = tuple(name for name in division.train_patients if name.startswith("belly"))
    both = division._replace(train_patients=belly, train_organs=(), test_organs=("lung", "spleen"))
    ((organ, chosen),) = target_slices(shards, both, 10)  # nobody on that side has a lung
    assert organ == "spleen" and len(chosen) == 10
    everybody = division._replace(train_patients=(), test_patients=())
    with pytest.raises(BadInput, match="no patient of the training side has spleen"):
        target_slices(shards, everybody, 10)


def test_every_preset_can_be_run_but_for_data_and_published_weights(tmp_path):
    write_size(tmp_path, SIZES["vit-b"])
    for config in (preset.config for preset in PRESETS.values()):
        if isinstance(config.network, Sam | LowRankSam):
            config = dataclasses.replace(config, init_from=tmp_path)
        if method_of(config.method).by_labels:
            told = dict(organ="liver", labelled=("2",), test_patients=("1",))
            config = dataclasses.replace(config, **told)
        if not getattr(config.tasks, "decathlon", False):
            checks.check(config)
