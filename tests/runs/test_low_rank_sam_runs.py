"""MLB-Seg on Segment Anything with low-rank adapters: from converted weights to scores."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxmeta.commands import test
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.stages import begun
from jaxmeta.methods.mlb_seg.method import MlbSeg
from jaxmeta.methods.networks.low_rank_sam import SIZES, LowRankSam
from jaxmeta.models.sam.files import write_weights
from jaxmeta.models.sam.low_rank import FROZEN, LEARNED, SEEN
from jaxmeta.models.sam.sam import sam
from jaxmeta.models.sam.size import Size
from jaxmeta.runs.checks import check
from jaxmeta.runs.presets import with_method
from jaxmeta.runs.run import open_run
from jaxmeta.runs.train import meta_train

SMALL = Size(8, 2, 1, (1,), image=16, patch=4, window=2, features=8, hidden=8, num_heads=1)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Let the size for a laptop be smaller still."""
    before = SIZES["tiny"]
    SIZES["tiny"] = SMALL
    yield
    SIZES["tiny"] = before


@pytest.fixture(scope="module")
def weights(tmp_path_factory, small):
    """A folder of converted weights, and these."""
    drawn = jax.device_get(jax.jit(sam(SMALL).init)(jax.random.key(7)))
    folder = tmp_path_factory.mktemp("sam") / "weights"
    leaves = jax.tree_util.tree_leaves_with_path(drawn)
    named = ((tuple(step.key for step in path), leaf) for path, leaf in leaves)
    write_weights(folder, SMALL, named, preprocessing="medsam")
    return folder, drawn


@pytest.fixture(scope="module")
def asked(config, weights, tmp_path_factory):
    """The configuration of a small run on it."""
    made = with_method(config, MlbSeg(stage_1="clean-steps", stage_1_steps=2, mirrors=False))
    return dataclasses.replace(
        made,
        workdir=tmp_path_factory.mktemp("low-rank") / "run",
        organ="heart",
        labelled=("1",),
        test_patients=("1",),
        test_organs=(),
        val_organs=(),
        tasks=dataclasses.replace(made.tasks, size=16, shots=2, queries=1),
        network=LowRankSam(rank=2),
        init_from=weights[0],
        steps=2,
        checkpoint_every=2,
    )


@pytest.mark.slow
def test_both_stages_learn_beside_frozen_weights(asked, weights):
    folder, drawn = weights
    learned = meta_train(begun(asked))
    first, last = open_run(asked.workdir / "stage-1"), open_run(learned)
    assert first.config.init_from == folder and last.config.init_from == first.folder
    for run in (first, last):
        for name in FROZEN:
            same = jax.tree.map(np.array_equal, run.state.state[name], drawn[name])
            assert jax.tree.all(same), "what is frozen stays, whatever decays"
        assert run.state.state[SEEN]["std"].tolist() == [255.0] * 3, "of MedSAM, in both stages"
        assert set(run.state.student) == {"adapter", LEARNED}
    moved = jax.tree.map(np.array_equal, first.state.student, last.state.student)
    assert not any(jax.tree.leaves(moved["adapter"]))
    assert begun(asked).init_from == first.folder, "the same command goes on"
    own = dataclasses.replace(asked.method, stage_1_steps=MlbSeg().stage_1_steps)
    check(dataclasses.replace(asked, init_from=learned, workdir=learned / "more", method=own))
    test.test(test.Options(run=(learned,)))
    assert (learned / "supervised" / "report.md").exists()


def test_what_it_cannot_begin_with_is_refused(asked):
    def refused(message, **changes):
        with pytest.raises(BadInput, match=message):
            check(dataclasses.replace(asked, **changes))

    check(asked)
    refused("needs `init_from`", init_from="random")
    refused("`network.rank=0`", network=LowRankSam(rank=0))
    refused("has 2 blocks", network=LowRankSam(last_blocks=3))
    refused("multiple of a patch", tasks=dataclasses.replace(asked.tasks, size=18))
    refused("frozen weights: `method.stage_1=clean-steps`", method=MlbSeg(mirrors=False))
