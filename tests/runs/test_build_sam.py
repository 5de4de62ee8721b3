"""Every option of SSM-SAM reaches what it names."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.algorithms.ssm_sam import Online
from jaxmeta.data.released import ReleasedSlices
from jaxmeta.inner_loop.rematerialise import REMAT
from jaxmeta.methods.networks import segment_anything
from jaxmeta.methods.networks.segment_anything import Sam
from jaxmeta.methods.options import Chunks, Outer, OwnLoss
from jaxmeta.methods.ssm_sam import method, released
from jaxmeta.methods.ssm_sam.method import SelfSampling
from jaxmeta.methods.ssm_sam.released import Released
from jaxmeta.models.sam import SIZES
from jaxmeta.models.sam.files import write_size
from jaxmeta.models.sam.images import HIGH, LOW, slices_as_colors
from jaxmeta.runs.presets import PRESETS, STILL


def test_ssm_sam_is_what_the_paper_s_code_says_and_released_only_what_it_does_otherwise():
    """arXiv 2308.16466, and the code released with it."""
    clean, other = PRESETS["ssm-sam"].config, PRESETS["ssm-sam-released"].config
    chunks = dict(width=5, stride=5, size=1024, shots=50, queries=12, batch_size=3, vmap=1)
    assert clean.method == SelfSampling(
        steps=3, rate=1e-4, order=1, learn_rate=False, test_steps=30, test_rate=2e-4,
        test_weight_decay=0.01, memory="remat", prompt="support", attends=True, dropout=0.2,
        period=0, adapter="high-pass", adapter_width=0, last_blocks=0,
        released=Released(
            mixed_tokens=False, transposed_points=False, raw_colors=False, across=False, copies=1
        ),
    )  # fmt: skip
    assert clean.outer == Outer(
        optimizer="adamw", schedule="cosine", rate=2e-4, warmup=0.0, clip=0.0, weight_decay=0.01
    )
    assert clean.tasks == Chunks(**chunks, least_pixels=1)
    assert clean.network == Sam() and clean.loss == OwnLoss()
    assert clean.steps == 50 * 12 // 3  # epochs of as many organs, three a step
    assert clean.augment == STILL and not clean.released.as_uint8
    assert other.tasks == Chunks(**chunks, least_pixels=27)
    assert other.method == dataclasses.replace(
        clean.method, prompt="clicks", attends=False, period=20,
        released=Released(
            mixed_tokens=True, transposed_points=True, raw_colors=True, across=True, copies=4
        ),
    )  # fmt: skip
    alike = dict(tasks=clean.tasks, method=clean.method, released=ReleasedSlices())
    assert dataclasses.replace(other, **alike) == clean


@pytest.fixture
def told(monkeypatch):
    """Note what the network, its adapter and the algorithm are made with, and make nothing."""
    seen = {}

    def note(name):
        def make(*given, **how):
            seen[name] = (*given, how)
            return name

        return make

    for name in ("self_sampling", "high_pass", "low_rank", "bottleneck"):
        monkeypatch.setattr(method, name, note(name))
    for name in ("transposed_points", "mixed_tokens", "repeated_support", "in_turn"):
        monkeypatch.setattr(released, name, lambda *given, name=name: f"{name} {given}")
    monkeypatch.setattr(method.algorithms, "ssm_sam", note("ssm_sam"))
    return seen


def test_every_option_of_ssm_sam_reaches_what_it_names(told):
    usual = PRESETS["ssm-sam-tiny"].config
    own = SelfSampling(
        prompt="clicks", attends=False, dropout=0.3, period=17, steps=7, rate=0.11,
        learn_rate=True, order=2, test_steps=13, test_rate=0.12, test_weight_decay=0.13,
        adapter_width=6, last_blocks=2, released=Released(True, True, True, True, copies=5),
    )  # fmt: skip
    tasks = dataclasses.replace(usual.tasks, width=9, size=128)
    config = dataclasses.replace(usual, method=own, tasks=tasks)
    assert method.algorithm(config, None) == "repeated_support ('ssm_sam', 5)"
    network, how = told["ssm_sam"]
    assert network == "transposed_points ('self_sampling',)" and how == dict(
        chunk=8, passes=7, rate=0.11, learn_rate=True, order=2,
        online=Online(13, 0.12, 0.13, 17), points_from="clicks", colors=released.raw_colors,
        memory=REMAT,
    )  # fmt: skip
    size = SIZES["tiny"]._replace(image=128)
    assert told["self_sampling"] == (
        size, "mixed_tokens ('high_pass',)",
        dict(attends=False, dropout=0.3, vectors="in_turn (5,)"),
    )  # fmt: skip
    assert told["high_pass"] == (size, dict(last=2, width=6))
    assert method.algorithm(usual, None) == "ssm_sam"
    assert told["ssm_sam"][-1]["colors"] is slices_as_colors
    assert told["high_pass"][-1] == dict(last=None, width=24)


def test_slices_look_as_the_frozen_encoder_learned_from_them(tmp_path):
    """MedSAM's learned from 0 to 1, whatever is the darkest and the brightest."""
    begun = dataclasses.replace(PRESETS["ssm-sam"].config, init_from=tmp_path)
    write_size(tmp_path, SIZES["vit-b"])
    assert segment_anything.colors_of(begun) is slices_as_colors
    write_size(tmp_path, SIZES["vit-b"], "medsam")
    seen = segment_anything.colors_of(begun)(jnp.array([-9.0, LOW, HIGH, 9.0])[None, :, None, None])
    np.testing.assert_allclose(seen[0, :, 0, 1], [0, 0, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    "kind, width, wanted",
    [
        ("low-rank", 0, dict(last=3, rank=4)),
        ("low-rank", 6, dict(last=3, rank=6)),
        ("bottleneck", 0, dict(last=3)),
        ("bottleneck", 6, dict(last=3, width=6)),
    ],
)
def test_every_kind_of_adapter_is_as_wide_as_asked(told, kind, width, wanted):
    own = SelfSampling(adapter=kind, adapter_width=width, last_blocks=3)
    method.adapter_of(own, SIZES["tiny"])
    assert told[kind.replace("-", "_")] == (SIZES["tiny"], wanted)
