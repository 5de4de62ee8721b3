"""Several algorithms on identical questions: hand-made reports, and two tiny runs from end to
end."""

import dataclasses
import json
import random
import shutil
from pathlib import Path

import pytest

from jaxmeta.augmentation.augment import upright
from jaxmeta.commands.compare import compare
from jaxmeta.commands.test import Options
from jaxmeta.commands.test import test as meta_test
from jaxmeta.errors import BadInput
from jaxmeta.evaluation import settings
from jaxmeta.evaluation.baselines import BOUND, FULL, METHOD, random_row
from jaxmeta.evaluation.finetune import Finetune, Tuned
from jaxmeta.evaluation.outcome import Outcome, Table
from jaxmeta.evaluation.protocol import Conditions, Description
from jaxmeta.evaluation.protocols.released import RELEASED
from jaxmeta.evaluation.scoring import Score
from jaxmeta.evaluation.tuned import choose
from jaxmeta.files import plain, write_json
from jaxmeta.methods.maml import Maml
from jaxmeta.methods.metamedseg.method import MetaMedSeg, TaskWeights
from jaxmeta.methods.prototypes import Prototypes
from jaxmeta.methods.ssm_sam.method import SSM_SAM, SelfSampling
from jaxmeta.methods.testing import OWN
from jaxmeta.reports import comparison, figures, run
from jaxmeta.reports.pairing import ComparedRun, entered, renamed_methods
from jaxmeta.runs.config import Config, to_json
from jaxmeta.runs.config_file import FORMAT
from jaxmeta.runs.identity import alike, names, recipe
from jaxmeta.runs.presets import with_method
from jaxmeta.runs.run import open_run
from jaxmeta.runs.train import meta_train
from jaxmeta.splits.split import Split

RANDOM = random_row(SSM_SAM)
SPLIT = Split(
    ("liver",), ("heart",), ("spleen",), ("p8", "p9"), ("p0", "p1", "p2", "p3", "p4", "p5")
)
SHARED, WALK = Finetune("sgd", 1.0, 100), Finetune("own", 1.0, 10)
DICE = {"nearest support mask": 0.2, "scratch": 0.5}


def found(algorithm, dice, *, seed=0, folder=None, cohort="c", **baselines) -> Outcome:
    """Make what a run found: 2 supports with 5 patients each, every patient .1 better than the
    last."""
    folder = folder or f"{algorithm}-{seed}"
    rows = {"adapted": dice, **DICE, **baselines}
    scores = [
        Score(row, "spleen", support_set, f"p{support_set}", f"p{support_set}:{seed}",
        f"p{patient}", f"p{patient}",
             of + 0.1 * patient, of / 2, "scored", 5, folder, cohort)
        for row, of in rows.items() for support_set in (0, 1) for patient in range(6) if patient !=
        support_set
    ]  # fmt: skip
    settings = {"adapted": Tuned(WALK, "the preset's"), "scratch": Tuned(SHARED, "shipped")}
    table = Table(5, scores, [], settings, 0.5)
    usual = dict(step=7, split=SPLIT, support_sets=2, conditions=Conditions(), devices="CPU")
    told = dict(folder=folder, algorithm=algorithm, seed=seed, tables=(table,))
    return Outcome(**usual, **told, recipe={}, heads={})


def with_table(outcome, **values) -> Outcome:
    return outcome._replace(tables=(outcome.tables[0]._replace(**values),))


def walked(outcome, **curves):
    """Give rows a curve: the same Dice for every case after so many steps."""
    own = [score for score in outcome.tables[0].scores if score.row == METHOD]
    by_steps = {
        row: {n: [score._replace(row=row, dice=dice) for score in own] for n, dice in curve.items()}
        for row, curve in curves.items()
    }
    return with_table(outcome, by_steps=by_steps)


def enter(outcomes):
    """Enter made-up runs, each by its method."""
    entries = [
        ComparedRun(o.folder, o.algorithm, o.seed, o.tables[0].scores[0].cohort, o.split)
        for o in outcomes
    ]
    return entered(entries, [o.recipe for o in outcomes])


def ranked(folder, outcomes):
    """Write a comparison, and read the lines of its table and its cases back."""
    text = comparison.write(folder, enter(outcomes), outcomes)
    (table,) = json.loads((folder / "summary.json").read_text())["tables"]
    lines = {line["row"]: line for line in table["lines"]}
    return text, table | {"lines": lines}, figures.read_scores(folder / "scores.csv", Score)


def test_algorithms_are_ranked_beside_the_baselines_they_share(tmp_path):
    outcomes = [
        found("reptile", 0.55, **{"no adaptation": 0.3}),
        found("maml", 0.65),
        found("anil", 0.6),
    ]
    text, table, scores = ranked(tmp_path, outcomes)
    lines = table["lines"]
    assert list(lines) == ["maml", "anil", "reptile", "nearest support mask", "scratch"]
    assert table["best"] == "maml"
    margins = {"maml": 0.15, "anil": 0.1, "reptile": 0.05, "nearest support mask": -0.3}
    for row, margin in margins.items():
        assert lines[row]["ahead"]["supports"]["mean"] == pytest.approx(margin)
        assert lines[row]["ahead"]["supports"]["low"] == pytest.approx(margin)
        assert lines[row]["ahead"]["runs"] is None
    assert lines["scratch"]["ahead"] is None
    assert lines["anil"]["behind"]["supports"]["mean"] == pytest.approx(0.05)
    assert lines["reptile"]["behind"]["supports"]["mean"] == pytest.approx(0.1)
    assert lines["scratch"]["counts"]["cases"] == lines["maml"]["counts"]["cases"] == 10
    assert len(scores) == 5 * 10 and {score.run for score in scores} == {
        "seed 0 on c, spleen left out"
    }
    assert "best: maml, Dice .940, +.150 [+.150, +.150] over scratch, +.050" in text
    assert "another seed may rank them otherwise" in text
    assert "left out: no adaptation (each method's own)" in text


def test_cases_are_paired_by_their_question_and_not_by_their_order(tmp_path):
    outcomes = [found("reptile", 0.55), found("maml", 0.65)]
    scores = list(outcomes[1].tables[0].scores)
    random.Random(0).shuffle(scores)
    _, table, _ = ranked(tmp_path, [outcomes[0], with_table(outcomes[1], scores=scores)])
    for margin in (table["lines"]["maml"]["ahead"], table["lines"]["reptile"]["behind"]):
        assert margin["supports"]["low"] == pytest.approx(margin["supports"]["high"])


def test_seeds_pair_with_their_own_and_widen_the_interval(tmp_path):
    gains = {0: 0.1, 1: 0.3}
    outcomes = [found("maml", 0.5 + gain, seed=seed) for seed, gain in gains.items()]
    outcomes += [found("reptile", 0.5, seed=seed) for seed in reversed(gains)]
    text, table, scores = ranked(tmp_path, outcomes)
    behind = table["lines"]["reptile"]["behind"]
    assert behind["supports"]["mean"] == behind["runs"]["mean"] == pytest.approx(0.2)
    # two runs .1 off their mean: 12.706 times .1 is beyond what a Dice can differ by
    assert (behind["runs"]["low"], behind["runs"]["high"]) == (-1, 1)
    assert table["lines"]["scratch"]["counts"]["cases"] == 20
    assert {score.run for score in scores} == {
        "seed 0 on c, spleen left out",
        "seed 1 on c, spleen left out",
    }
    # both supports have the same gains: how others differ they do not tell
    assert "[95 % CI over patients and runs, not over supports; t]" in text
    assert "another seed" not in text
    assert "over runs too: +.200 [-1.000, +1.000]" in text


def test_runs_that_each_leave_out_another_organ_make_one_table_whatever_their_seeds(tmp_path):
    def without(organ, outcome):
        (table,) = outcome.tables
        scores = [score._replace(organ=organ) for score in table.scores]
        outcome = outcome._replace(split=outcome.split._replace(test_organs=(organ,)))
        return with_table(outcome, scores=scores)

    dice = {"spleen": 0.5, "liver": 0.7}
    outcomes = [without(organ, found("maml", of)) for organ, of in dice.items()]
    outcomes += [without(organ, found("anil", of - 0.1)) for organ, of in dice.items()]
    text, table, scores = ranked(tmp_path, outcomes)
    means = {
        organ: of["mean"] if isinstance(of, dict) else of[0]
        for organ, of in table["organs"]["maml"].items()
    }
    assert means["liver"] - means["spleen"] == pytest.approx(0.2)
    assert {score.run for score in scores} == {f"seed 0 on c, {organ} left out" for organ in dice}
    assert table["lines"]["anil"]["behind"]["supports"]["mean"] == pytest.approx(0.1)
    assert table["lines"]["anil"]["behind"]["runs"] is None, "one run an organ: none to exchange"
    assert "one training run each" in text
    again = [without(organ, found("maml", of, seed=1)) for organ, of in dice.items()]
    again += [without(organ, found("anil", of - 0.12, seed=1)) for organ, of in dice.items()]
    _, table, _ = ranked(tmp_path, outcomes + again)
    behind = table["lines"]["anil"]["behind"]["runs"]
    # of each organ .1 and .12, deviation .0141; t with 1 + 1 degrees 4.3027 times .0141 / 2
    half = 4.3027 * 0.02 / 2**0.5 / 2
    assert (behind["low"], behind["high"]) == pytest.approx((0.11 - half, 0.11 + half), abs=1e-4)


def test_a_report_has_no_interval_over_runs_that_each_left_out_an_organ_of_their_own():
    """It was the other interval once more, bit for bit; a second run for each organ tells
    something."""

    def lines(*runs):
        scores = [
            score._replace(
                organ=organ, run=f"{organ} {seed}", dice=score.dice + gain * score.support_set
            )
            for organ, seed in runs
            for score in found("maml", 0.6 + 0.02 * seed, seed=seed).tables[0].scores
            for gain in (0.01 * (score.row == METHOD),)
        ]
        return {line.row: line for line in run.lines_of(scores, [{}] * len(runs))}

    alone = lines(("liver", 0), ("spleen", 0))["scratch"]
    assert alone.behind.supports.over == ("patients", "supports") and alone.behind.runs is None
    both = lines(*((organ, seed) for organ in ("liver", "spleen") for seed in (0, 1)))["scratch"]
    assert both.behind.runs.over == ("patients", "supports", "runs")


def test_dice_after_so_many_steps_is_averaged_over_the_runs_that_all_were_asked(tmp_path):
    curves = [{0: 0.1, 10: 0.5}, {0: 0.3, 20: 0.7}]
    outcomes = [
        walked(found("maml", 0.6, seed=seed), **{METHOD: curve})
        for seed, curve in enumerate(curves)
    ]
    fresh = {RANDOM: {0: 0.5}, "of another table": {0: 0.9}}
    asked = [fresh | {METHOD: {0: 0.4}}, fresh]  # the method's own in one run alone: no mean
    outcomes += [
        walked(found("anil", 0.6, seed=seed, **{RANDOM: 0.4}), **curves)
        for seed, curves in enumerate(asked)
    ]
    text, table, _ = ranked(tmp_path, outcomes)
    means = {
        row: {n: each["mean"] for n, each in own.items()} for row, own in table["by_steps"].items()
    }
    assert means == {"maml": {"0": pytest.approx(0.2)}, RANDOM: {"0": pytest.approx(0.5)}}
    assert "Dice after so many inner steps     0\nmaml                            .200" in text
    ahead = table["ahead_by_steps"][RANDOM]["0"]  # .1 - .5 in one run, .3 - .5 in the other
    assert ahead["supports"]["mean"] == ahead["runs"]["mean"] == pytest.approx(-0.3)
    assert (ahead["runs"]["low"], ahead["runs"]["high"]) == pytest.approx((-1, 0.9706), abs=1e-4)
    head = "maml minus, after so many [95 % CI over patients and runs, not over supports; t]"
    assert head in text and "-.300 [-1.000, +.971]" in text


def test_curves_are_paired_case_by_case_whatever_their_order(tmp_path):
    rng = random.Random(0)
    outcomes = []
    for name, gap in {"maml": 0.1, "anil": 0.0}.items():
        own = [score for score in found(name, 0.6).tables[0].scores if score.row == METHOD]
        scores = [score._replace(dice=score.dice + gap) for score in own]  # each patient its own
        rng.shuffle(scores)
        outcomes.append(with_table(found(name, 0.6), by_steps={METHOD: {5: scores}}))
    _, table, _ = ranked(tmp_path, outcomes)
    gap = table["ahead_by_steps"][{"maml": "anil", "anil": "maml"}[table["best"]]]["5"]["supports"]
    assert abs(gap["mean"]) == pytest.approx(0.1) and gap["low"] == pytest.approx(gap["high"])


def test_curves_are_read_back_as_they_were(tmp_path):
    outcome = walked(found("maml", 0.6, folder=str(tmp_path)), **{METHOD: {0: 0.1, 7: 0.5}})
    outcome = outcome._replace(folder=tmp_path)
    (tmp_path / "report").mkdir()
    run.write(tmp_path / "report", [outcome])
    (again,) = run.read_report(tmp_path).tables
    assert repr(again.by_steps) == repr(outcome.tables[0].by_steps)  # NaN is not itself
    (tmp_path / "report" / "steps.csv").unlink()
    with pytest.raises(BadInput, match="not the report of this version"):
        run.read_report(tmp_path)


def test_a_comparison_is_a_page_to_look_at_and_to_send(tmp_path):
    curve = {0: 0.1, 10: 0.6}
    outcomes = [
        walked(found(name, dice, **{"no adaptation": 0.3}), **{METHOD: curve})
        for name, dice in {"maml": 0.65, "anil": 0.6}.items()
    ]
    ranked(tmp_path, outcomes)
    html = (tmp_path / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 2  # boxes and curves
    assert "<tr class=best><td>maml</td><td>.940" in html
    as_markdown = (tmp_path / "report.md").read_text()
    assert "| maml | .100 | .600 |" in as_markdown
    for told in (
        "best: maml, Dice .940, +.150 [+.150, +.150] over scratch",
        "left out: no adaptation (each method&#x27;s own)",
        "scratch: sgd, rate 1, 100 steps (shipped)",
    ):
        assert told in html and told.replace("&#x27;", "'") in as_markdown
    several = [o._replace(tables=(o.tables[0], o.tables[0]._replace(shots=1))) for o in outcomes]
    assert comparison.write(tmp_path / "more", enter(several), several).count("best: maml") == 2
    more = (tmp_path / "more" / "report.html").read_text()
    assert "More slices" in more and more.count("data:image/png;base64,") == 5
    assert not (tmp_path / "shots.png").exists() and "<h2>Transfer" not in html
    assert "10 of 6 patients, asked of every row" in html


def test_what_a_page_says_of_transfer_and_of_many_methods(tmp_path):
    extra = {"transfer": 0.55, BOUND: 0.9}
    outcomes = [
        found("maml", 0.6, **extra)._replace(heads={"liver": 0.8, "lung": 0.05}),
        found("anil|" * 30, 0.6, **extra),
    ]
    bound = [
        c._replace(support_slices="all") for c in outcomes[0].tables[0].scores if c.row == BOUND
    ]
    kept = [[c for c in o.tables[0].scores if c.row != BOUND] + bound for o in outcomes]
    outcomes = [with_table(o, scores=scores) for o, scores in zip(outcomes, kept, strict=True)]
    ranked(tmp_path, outcomes)
    html = (tmp_path / "report.html").read_text()
    assert "<h2>Transfer" in html and "DEAD, so the baseline is too weak: lung" in html
    assert "<h1>2 methods: held-out organs" in html
    assert "10 of 6 patients, asked of every row" in html
    parts = (tmp_path / "report.md").read_text().split("\n\n")
    head, *rows = next(part for part in parts if part.startswith("|")).splitlines()
    assert {row.replace("\\|", "").count("|") for row in rows} == {head.count("|")}


def test_what_each_test_asked_and_each_method_stands_on_is_told_once(tmp_path):
    def asked(outcome, labelled):
        text = f"by 3; slices labelled: liver {labelled} of 9; an oracle"
        outcome = with_table(outcome, told=Description(text, "3-D"))
        return outcome._replace(conditions=Conditions(neighbors=3), protocol="within-volume")

    outcomes = [asked(found("maml", 0.6, seed=seed), 3 + seed) for seed in (0, 1)]
    outcomes += [
        asked(found("ssm-sam", 0.6, seed=seed), 3 + seed)._replace(stands_on="an encoder")
        for seed in (0, 1)
    ]
    _, table, _ = ranked(tmp_path, outcomes)
    told = table["protocol"]
    assert "within-volume: by 3; slices labelled: liver 3 of 9 | liver 4 of 9; an oracle; " in told
    assert told.count("ssm-sam: an encoder") == 1


def test_what_only_some_have_is_left_out_and_named(tmp_path):
    extra = {"transfer": 0.55, "scratch, same steps": 0.4}
    outcomes = [found("maml", 0.6, **extra), found("anil", 0.6)]
    _, table, scores = ranked(tmp_path, outcomes)
    assert {score.row for score in scores} == {"maml", "anil", "nearest support mask", "scratch"}
    assert table["left_out"] == [
        "transfer (not in every report)",
        "scratch, same steps (each method's own)",
    ]


def test_a_baseline_may_lack_in_the_reports_of_a_method_whose_own_rows_stay_out(tmp_path):
    """SSM-SAM has no scratch; its second way of scoring is its own."""
    extra = {RANDOM: 0.3, METHOD + RELEASED: 0.9}
    prompted = found("ssm-sam", 0.55, **extra)
    (table,) = prompted.tables
    scores = [score for score in table.scores if score.row != "scratch"]
    settings = {row: of for row, of in table.settings.items() if row != "scratch"}
    prompted = prompted._replace(tables=(table._replace(scores=scores, settings=settings),))
    for outcomes in ([found("maml", 0.6), prompted], [prompted, found("maml", 0.6)]):
        _, table, scores = ranked(tmp_path, outcomes)
        assert {c.row for c in scores} == {
            "maml",
            "ssm-sam",
            "nearest support mask",
            "scratch",
            RANDOM,
        }
        assert table["lines"]["ssm-sam"]["ahead"] is not None
        assert {why.rpartition(" (")[0] for why in table["left_out"]} == {METHOD + RELEASED}


def test_a_transfer_that_differs_is_left_out_with_the_way_to_have_it(tmp_path):
    outcomes = [found("maml", 0.6, transfer=0.55), found("anil", 0.6, transfer=0.5)]
    _, table, _ = ranked(tmp_path, outcomes)
    (why,) = table["left_out"]
    assert why.startswith("transfer has -.050 Dice in the test of anil-0 over that of maml-0")
    assert why.endswith("the same run for both (option transfer)") and "`" not in why


def test_a_copied_mask_of_another_size_is_left_out_and_told(tmp_path):
    _, table, scores = ranked(
        tmp_path, [found("maml", 0.6), found("anil", 0.6, **{"nearest support mask": 0.3})]
    )
    assert "nearest support mask" not in {score.row for score in scores}
    assert table["left_out"][0].startswith(
        "nearest support mask has +.100 Dice in the test of anil-0"
    )


def test_what_a_machine_rounds_is_told_and_no_reason_to_refuse(tmp_path):
    _, table, _ = ranked(tmp_path, [found("maml", 0.6), found("anil", 0.6, scratch=0.504)])
    assert table["lines"]["scratch"]["dice"]["mean"] == pytest.approx(0.79)
    assert table["lines"]["scratch"]["note"].endswith(
        "(shipped); the same within .004 in every test"
    )


def with_recipe(outcome, **values):
    return outcome._replace(recipe={"steps": 9, "task_weights.rule": "meta"} | values)


def test_runs_of_one_algorithm_with_other_settings_are_methods_of_their_own(tmp_path):
    rules = {"uniform": 0.55, "meta": 0.5, "mean": 0.65}
    outcomes = [
        with_recipe(found("metamedseg", dice, folder=rule), **{"task_weights.rule": rule})
        for rule, dice in rules.items()
    ]
    assert [entry.row for entry in enter([*outcomes, found("maml", 0.6)])] == [
        *(f"metamedseg rule={rule}" for rule in rules),
        "maml",
    ]
    text = comparison.write(tmp_path, enter(outcomes), outcomes, enter(outcomes)[0].row)
    (table,) = json.loads((tmp_path / "summary.json").read_text())["tables"]
    lines = {line["row"]: line for line in table["lines"]}
    assert (
        table["best"] == "metamedseg rule=mean" and table["reference"] == "metamedseg rule=uniform"
    )
    margins = {"mean": -0.1, "meta": 0.05}  # uniform minus it
    for rule, gap in margins.items():
        behind = lines[f"metamedseg rule={rule}"]["behind"]
        assert behind["supports"]["mean"] == pytest.approx(gap)
    assert lines["metamedseg rule=uniform"]["behind"] is None
    assert "metamedseg rule=uniform minus" in text


def test_methods_bear_the_names_that_one_gives_them_and_never_a_baselines(tmp_path):
    outcomes = [with_recipe(found("ssm-sam", 0.5 + n / 10), steps=n) for n in (1, 2)]
    entries = renamed_methods(
        enter([*outcomes, outcomes[0]]), ["SSM-SAM", "no meta-learning"], {"scratch"}
    )
    assert [entry.row for entry in entries] == ["SSM-SAM", "no meta-learning", "SSM-SAM"]
    text = comparison.write(tmp_path, entries[:2], outcomes)
    assert "best: no meta-learning, Dice" in text and "\nSSM-SAM " in text and "steps=" not in text
    wrong = {
        "1 for 2 methods": ["SSM-SAM"],
        "given twice": ["a", "a"],
        "beside the rows": ["a", "scratch"],
    }
    for reason, wanted in wrong.items():
        with pytest.raises(BadInput, match=f"`names.*{reason}"):
            renamed_methods(entries, wanted, {"scratch"})


def test_seeds_and_splits_make_no_other_method():
    again = dict(seed=3, workdir=Path("there"), checkpoint_every=7, test_patients=("a",))
    first = Config(data=(Path("a"),), method=MetaMedSeg())
    assert recipe(first) == recipe(dataclasses.replace(first, **again))
    weights = TaskWeights("mean", invert=True)
    other = dataclasses.replace(first, method=MetaMedSeg(task_weights=weights))
    assert names(["x", "x", "y"], list(map(recipe, (first, other, first)))) == [
        "x rule=uniform",
        "x rule=mean task-weights.invert",
        "y",
    ]


def test_a_method_is_named_by_what_it_has_and_others_have_not():
    recipes = [
        {"rate": 0.0, "clip": None, "leak": []},
        {"rate": 0.5, "clip": 1.0, "leak": ["a", "b"]},
    ]
    assert names(["x", "x"], recipes) == ["x rate=0.0", "x rate=0.5 clip=1.0 leak=a,b"]


def test_what_a_run_began_with_is_part_of_its_method(run, tmp_path):
    begun, plain = recipe(Config(init_from=run)), recipe(Config())
    assert begun["init_from.algorithm"] == "meta-sgd"
    gone = recipe(Config(init_from=tmp_path))
    assert gone == recipe(Config(init_from=tmp_path / "elsewhere"))
    assert names(["x"] * 3, [begun, plain, gone]) == [
        "x init-from=meta-sgd",
        "x",
        "x init-from=another run",
    ]
    longer = begun | {"init_from.steps": 7}
    assert names(["x"] * 2, [begun, longer]) == [
        f"x init-from.steps={begun['init_from.steps']}",
        "x init-from.steps=7",
    ]


def test_a_name_says_which_of_several_settings_of_one_name_it_is():
    recipes = [{"inner.rate": 0.15, "outer.rate": 0.002}, {"inner.rate": 0.1, "outer.rate": 0.002}]
    assert names(["x", "x"], recipes) == ["x inner.rate=0.15", "x inner.rate=0.1"]


def test_what_changes_no_result_makes_no_other_method():
    first = with_method(Config(), Maml())
    tasks = dataclasses.replace(first.tasks, vmap=2)
    own = dataclasses.replace(first.method, memory="plain")
    assert recipe(first) == recipe(dataclasses.replace(first, tasks=tasks, method=own))


def test_rows_that_begin_where_a_run_ended_are_its_method_s_own(tmp_path):
    outcomes = [found(name, 0.6, **{FULL: 0.8, BOUND: 0.9}) for name in ("maml", "metamedseg")]
    _, table, _ = ranked(tmp_path, outcomes)
    assert table["left_out"] == [
        f"{FULL} (each method's own)",
        f"{BOUND} (MetaMedSeg's own goes slice by slice)",
    ]
    assert BOUND not in table["lines"] and FULL not in table["lines"]


def of_patients(names, outcome):
    return with_table(outcome, scores=[c for c in outcome.tables[0].scores if c.patient in names])


def test_one_patient_has_no_interval(tmp_path):
    alone = [
        of_patients(("p4",), found(name, dice)) for name, dice in (("maml", 0.6), ("anil", 0.5))
    ]
    alone = [
        with_table(o, scores=[c for c in o.tables[0].scores if c.support_set == 0]) for o in alone
    ]
    text, table, _ = ranked(tmp_path, alone)
    assert "best: maml, Dice 1.000, +.100 over scratch, +.100 over anil" in text
    assert table["lines"]["anil"]["behind"]["supports"]["low"] is None
    (line,) = [line for line in text.splitlines() if line.startswith("anil") and "+.100" in line]
    assert line.split() == ["anil", "+.100"]  # no interval, and no p


def test_heads_say_what_intervals_are_over_and_what_p_is_adjusted_over(tmp_path):
    def uneven(outcome, gain):
        scores = [
            c._replace(
                dice=c.dice + gain * (c.support_set + (c.patient == "p3")) * (c.row == METHOD)
            )
            for c in outcome.tables[0].scores
        ]
        return with_table(outcome, scores=scores)

    outcomes = [
        uneven(found(name, dice), gain)
        for name, dice, gain in (("maml", 0.6, 0.01), ("anil", 0.5, 0.02), ("reptile", 0.4, 0.03))
    ]
    text, table, _ = ranked(tmp_path, outcomes)
    assert "Dice [95 % CI over patients; t]" in text
    assert "minus scratch [95 % CI over patients and supports; t]" in text
    assert "p, Holm (best of these, 3 pairs)" in text
    assert all(
        f in table["lines"]["anil"]["behind"]["supports"]["over"] for f in ("patients", "supports")
    )
    text = comparison.write(tmp_path, enter(outcomes), outcomes, enter(outcomes)[1].row)
    assert "p, Holm (named beforehand)" in text
    one = [
        with_table(o, scores=[c for c in o.tables[0].scores if c.support_set == 0])
        for o in outcomes
    ]
    text, _, _ = ranked(tmp_path, one)
    assert "minus scratch [95 % CI over patients, not over supports; t]" in text


def test_a_transfer_run_is_not_taken_for_the_baseline(tmp_path):
    outcomes = [found("transfer", 0.6, transfer=0.5), found("maml", 0.7, transfer=0.5)]
    _, table, _ = ranked(tmp_path, outcomes)
    assert list(table["lines"])[:2] == ["maml", "transfer run"]
    assert table["lines"]["transfer"]["counts"]["cases"] == 10


def test_a_comparison_without_baselines_has_the_ranking_alone(tmp_path):
    outcomes = [found("maml", 0.6), found("anil", 0.5)]
    bare = [
        with_table(o, scores=[c for c in o.tables[0].scores if c.row == "adapted"])
        for o in outcomes
    ]
    text, table, _ = ranked(tmp_path, bare)
    assert list(table["lines"]) == ["maml", "anil"] and "scratch" not in text
    assert "best: maml, Dice .890, +.100 [+.100, +.100] over anil" in text


def other_split(outcome):
    return outcome._replace(split=SPLIT._replace(train_organs=("liver", "lung")))


def other_support(outcome):
    scores = [score._replace(support_slices="p0:9") for score in outcome.tables[0].scores]
    return with_table(outcome, scores=scores)


def other_scratch(outcome):
    settings = outcome.tables[0].settings
    searched = Tuned(Finetune("adam", 0.01, 50), "chosen on validation organs of anil-0")
    return with_table(outcome, settings=settings | {"scratch": searched})


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            [found("anil", 0.5, seed=1)],
            "maml-0 .*has no run of anil beside it: name one of the same",
        ),
        ([found("anil", 0.5, cohort="d")], "maml-0 .*seed 0 on c.* has no run of anil"),
        (
            [found("anil", 0.5), found("anil", 0.6, folder="again")],
            "anil-0 and again are both anil, seed 0 on c, spleen left out: .*name one run a seed",
        ),
        (
            [other_split(found("anil", 0.5))],
            "maml-0 and anil-0 .*learned from other organs or patients: train both with the same",
        ),
        (
            [other_support(found("anil", 0.5))],
            "maml-0 and anil-0 .*were asked other questions: .*the same `seed`",
        ),
        (
            [other_scratch(found("anil", 0.5))],
            "scratch is not the same for all, sgd, rate 1, 100 steps .* in maml-0 and adam, .* in "
            "anil-0: test both by the settings of one run",
        ),
        ([found("anil", 0.5, scratch=0.45)], "scratch has -.050 Dice in the test of anil-0 over"),
    ],
)
def test_runs_that_do_not_pair_are_refused(tmp_path, others, message):
    with pytest.raises(BadInput, match=message) as refused:
        ranked(tmp_path, [found("maml", 0.6), *others])
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_the_search_of_another_algorithm_settles_scratch_alone(run, rival, tmp_path):
    searched = shutil.copytree(run, tmp_path / "searched")
    found = {row: Tuned(SHARED) for row in ("adapted", "scratch", "scratch, same steps")}
    settings.save(searched, "2", found, {}, None)
    options = Options(run=(), tuned_on=searched)
    theirs, same = (
        choose(open_run(rival), 2, options, None),
        choose(open_run(run), 2, options, None),
    )
    assert theirs.keys() == {"adapted", "scratch"} and theirs["scratch"] == same["scratch"]
    assert theirs["adapted"].finetune.optimizer == OWN
    assert same["adapted"].finetune == SHARED


@pytest.fixture(scope="module")
def rival(config):
    """Train prototypes on what the run learned from."""
    rival = dataclasses.replace(
        with_method(config, Prototypes(features=4)),
        workdir=config.workdir.parent / "rival",
        augment=upright(config.augment, 0.0),
    )
    assert meta_train(rival)
    return rival.workdir


def test_two_algorithms_are_tested_and_compared_in_one_command(run, rival, monkeypatch, capsys):
    monkeypatch.setattr(settings, "SHIPPED", {2: Finetune("adam", 1e-2, 2)})
    ours, theirs = meta_test(
        Options(run=(run, rival), shots=(2,), support_sets=2, save_masks=False)
    )
    printed = capsys.readouterr().out
    assert (ours.algorithm, theirs.algorithm, ours.seed) == ("meta-sgd", "prototypes", 0)

    def alone(outcome, row):
        return [score.dice for score in outcome.tables[0].scores if score.row == row]

    untrained = {"nearest support mask", "place and intensity, no training"}
    for row in (*untrained, "scratch"):  # computed twice, and the same to the last bit
        assert alone(ours, row) == alone(theirs, row)
    folder = run / "report" / "of_2_runs"
    (table,) = json.loads((folder / "summary.json").read_text())["tables"]
    lines = {line["row"]: line for line in table["lines"]}
    assert lines.keys() == {"meta-sgd", "prototypes", "scratch", *untrained}
    for row, outcome in {"meta-sgd": ours, "prototypes": theirs}.items():
        gains = [a - b for a, b in zip(alone(outcome, "adapted"), alone(outcome, "scratch"))]
        assert lines[row]["ahead"]["supports"]["mean"] == pytest.approx(sum(gains) / len(gains))
    assert {c.row for c in figures.read_scores(folder / "scores.csv", Score)} == lines.keys()
    assert f"best: {table['best']}" in printed
    assert compare((run, rival)) in printed  # from the reports alone, the same


def test_all_are_held_against_a_named_run_or_refused(run, rival, tmp_path):
    text = compare((run, rival), tmp_path / "out", str(run.parent / "nowhere" / ".." / run.name))
    assert "meta-sgd minus" in text
    with pytest.raises(BadInput, match="--reference .*: is neither among the runs nor a row"):
        compare((run, rival), tmp_path / "out", str(tmp_path))
    with pytest.raises(BadInput, match="no adaptation: is neither among the runs nor a row"):
        compare((run, rival), tmp_path / "out", "no adaptation")  # each method has its own
    with pytest.raises(BadInput, match="--reference .*: there is no other method"):
        compare((run,), tmp_path / "out", str(run))
    with pytest.raises(BadInput, match="--names: names methods beside each other"):
        compare((run,), tmp_path / "out", names=["ours"])
    assert "ours minus" in compare((rival, run), tmp_path / "out", str(rival), ["ours", "theirs"])


def test_all_are_held_against_a_row_that_learns_nothing(run, rival, tmp_path):
    text = compare((run, rival), tmp_path / "out", "place and intensity, no training")
    assert "place and intensity, no training minus" in text
    (table,) = json.loads((tmp_path / "out" / "summary.json").read_text())["tables"]
    held = {line["row"] for line in table["lines"] if line["behind"]}
    assert held == {"meta-sgd", "prototypes", "nearest support mask", "scratch"}


def test_a_search_gives_no_setting_of_the_method_to_the_same_algorithm_trained_otherwise(
    run, tmp_path
):
    searched = shutil.copytree(run, tmp_path / "searched")
    values = json.loads((searched / "config.json").read_text())
    values["config"]["outer"]["rate"] = 0.5
    (searched / "config.json").write_text(json.dumps(values))
    settings.save(searched, "2", {row: Tuned(SHARED) for row in ("adapted", "scratch")}, {}, None)
    borrower, options = open_run(run), Options(run=(), tuned_on=searched)
    found = choose(borrower, 2, options, None)
    assert found["scratch"].finetune == SHARED
    assert found["adapted"].finetune.optimizer == OWN
    settings.save(tmp_path, "2", {"adapted": Tuned(WALK)}, {}, None)
    found = choose(borrower._replace(folder=tmp_path), 2, options, None)
    assert (found["scratch"].finetune, found["adapted"].finetune) == (SHARED, WALK)


def test_ssm_sam_borrows_the_setting_of_fresh_readers_at_the_rate_that_it_meant(run, tmp_path):
    trained = open_run(run)
    own = with_method(trained.config, SelfSampling())
    twice = dataclasses.replace(own.method, test_rate=2 * own.method.test_rate)
    values = dict(config=to_json(dataclasses.replace(own, method=twice)))
    values |= dict(format=FORMAT, split=plain(trained.split))
    write_json(tmp_path / "config.json", values)
    found = {row: Tuned(Finetune(OWN, 3.0, 10)) for row in ("adapted", RANDOM)}
    settings.save(tmp_path, "2", found, {}, None)
    options = Options(run=(), tuned_on=tmp_path)
    rows = choose(trained._replace(config=own), 2, options, None)
    assert rows[RANDOM].finetune == Finetune(OWN, 6.0, 10)
    assert rows["adapted"].source == "the preset's"
    with pytest.raises(BadInput, match="has no baseline that"):
        choose(trained, 2, options, None)
    settings.save(tmp_path, "2", {"scratch": Tuned(SHARED)}, {}, None)
    with pytest.raises(BadInput, match="has no baseline that"):
        choose(trained._replace(config=own), 2, options, None)


def test_runs_that_cannot_pair_are_refused_before_they_are_tested(
    run, rival, tmp_path, monkeypatch
):
    monkeypatch.setattr("jaxmeta.runs.run.refuse_edited", lambda folder: None)
    later = shutil.copytree(run, tmp_path / "later")
    values = json.loads((later / "config.json").read_text())
    values["config"]["seed"] = 1
    (later / "config.json").write_text(json.dumps(values))
    with pytest.raises(BadInput, match="later .*has no run of prototypes beside it"):
        meta_test(Options(run=(run, rival, later), shots=(2,)))


def test_a_run_by_a_protocol_is_alike_one_whose_held_out_organs_are_named():
    """So that settings chosen on validation organs serve a protocol, which has none."""
    chosen = Config(test_organs=("liver",), val_organs=("spleen",), test_patients=("a/1",))
    tested = Config(test_organs=("liver",), protocol="alpnet", fold=3, setting=2, seed=4)
    assert alike(chosen, tested) and alike(tested, chosen)
    assert not alike(chosen, dataclasses.replace(tested, steps=7))
    assert recipe(chosen) != recipe(tested)  # two methods in a comparison all the same
