"""SSM-SAM: few steps on one slice adapt a frozen image encoder (Zhang, Leng, Han, Xie 2024)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from jaxmeta import algorithms
from jaxmeta.algorithms.ssm_sam import Drawn, Online
from jaxmeta.errors import BadInput
from jaxmeta.files import plain
from jaxmeta.methods.method import FrozenPart, Method
from jaxmeta.methods.networks import segment_anything
from jaxmeta.methods.networks.segment_anything import check_sam, size_of
from jaxmeta.methods.parts import MEMORY
from jaxmeta.methods.sources import chunk_source
from jaxmeta.methods.ssm_sam import released
from jaxmeta.methods.ssm_sam.released import Released
from jaxmeta.methods.testing import OWN, Asked, Grid, OwnRule, SearchSpace, Testing
from jaxmeta.models.sam import Size
from jaxmeta.models.sam.adapters import Adapter, bottleneck, high_pass, low_rank, to_parts
from jaxmeta.models.ssm_sam import SsmSam, self_sampling
from jaxmeta.options import options
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.source import Source

CLICKS = Drawn().asked
OWN_GRID = Grid((0.3, 1.0, 3.0), (10, 20, 40))  # multiples of its own rate, and its steps
MOST_OWN = 120  # steps of its own rule
FEW = 5  # slices that a prediction adapts to: it answers once for each


@options
class SelfSampling:
    """SSM-SAM: adapters, self-sampled points and a mask-attention decoder on a frozen encoder."""

    adapter: Literal["high-pass", "low-rank", "bottleneck"] = "high-pass"
    """What is trained inside the frozen image encoder: prompts of high frequencies and patches
    before every block, as SSM-SAM has them; low-rank changes of queries and values; narrow MLPs in
    every block."""
    adapter_width: int = 0
    """Channels inside an adapter; 0: 24, rank 4, a quarter of the tokens'."""
    last_blocks: int = 0
    """Adapt only so many blocks, the last ones; 0: all. What lies before them is computed once a
    slice."""
    steps: int = 3
    """Passes over all chunks in training; 0 trains the same network jointly, without
    meta-learning."""
    rate: float = 1e-4
    """Inner rate, or where learned rates start."""
    learn_rate: bool = False
    """Learn a rate for every parameter, from `rate` on."""
    order: Literal[1, 2] = 1
    """1 holds inner updates fixed when differentiating, 2 differentiates through them."""
    memory: Literal["plain", "remat", "mixed"] = "remat"
    """What second order keeps of the steps: see maml."""
    test_steps: int = 30
    """Steps of AdamW on the support slice."""
    test_rate: float = 2e-4
    """Their highest rate."""
    test_weight_decay: float = 0.01
    """Their decoupled weight decay."""
    period: int = 0
    """Steps after which the online rate has fallen to nothing; 0: the last; released: 20 of 30 or
    40, so that it rises again."""
    prompt: Literal["support", "clicks", "none"] = "support"
    """Points on new slices lie on the support's mask, or on their own truth (clicks, which every
    score is named after), or there are none."""
    attends: bool = True
    """The decoder looks at the query under the support's mask; released: not."""
    dropout: float = 0.2
    """Share of the decoder's features that training and adaptation leave out."""
    released: Released = Released()


def algorithm(config: Any, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it."""
    own = config.method
    made = algorithms.ssm_sam(
        released.pointed(own.released, network_of(config)),
        chunk=config.tasks.width - 1,
        passes=own.steps,
        rate=own.rate,
        learn_rate=own.learn_rate,
        order=own.order,
        online=Online(own.test_steps, own.test_rate, own.test_weight_decay, own.period or None),
        points_from=own.prompt,
        colors=colors_of(config),
        memory=MEMORY[own.memory],
    )
    return released.adapted(own.released, made)


def colors_of(config: Any) -> Callable:
    """Choose how slices become colors."""
    return released.colored(config.method.released, segment_anything.colors_of(config))


def network_of(config: Any) -> SsmSam:
    """Make the network."""
    own, size = config.method, size_of(config)
    adapter = adapter_of(own, size)
    return self_sampling(
        size,
        released.encoded(own.released, adapter),
        attends=own.attends,
        dropout=own.dropout,
        vectors=released.vectors(own.released),
    )


def adapter_of(own: SelfSampling, size: Size) -> Adapter:
    """Make the adapter."""
    last, width = own.last_blocks or None, own.adapter_width
    if own.last_blocks > size.depth:
        raise BadInput(
            f"`method.last_blocks={own.last_blocks}`: the image encoder has {size.depth} blocks"
        )
    match own.adapter:
        case "high-pass":
            return high_pass(size, last=last, width=width or 24)
        case "low-rank":
            return low_rank(size, last=last, rank=width or 4)
        case "bottleneck":
            return bottleneck(size, last=last, **(dict(width=width) if width else {}))


def source(config: Any, drawn: Pool, *, training: bool = True) -> Source:
    """Draw chunks of neighbors."""
    cut = released.cut(config.method.released)
    clicks = clicks_of(config.method)
    return chunk_source(config.tasks, drawn, training=training, cut=cut, clicks=clicks)


def check(config: Any) -> None:
    """Refuse what it cannot be made of."""
    own, tasks = config.method, config.tasks
    check_sam(config)
    least = {
        "method.adapter_width": (own.adapter_width, 0),
        "method.last_blocks": (own.last_blocks, 0),
        "method.period": (own.period, 0),
        "method.dropout": (own.dropout, 0),
        "tasks.width": (tasks.width, 2),
        "tasks.stride": (tasks.stride, 1),
    }
    for name, (value, limit) in least.items():
        if value < limit:
            raise BadInput(f"`{name}={value}`: must be at least {limit}")
    if own.dropout >= 1:
        raise BadInput(f"`method.dropout={own.dropout}`: must be below 1")
    released.check(config)
    if tasks.size:
        network_of(config)


def validated_by(config: Any) -> str:
    """Say what a validation score knows of the truth."""
    by_clicks = " and CLICKS ON ITS OWN TRUTH" if clicks_of(config.method) else ""
    return f", each slice told its neighbor's mask{by_clicks}"


def points(config: Any) -> str:
    """Say where the points on new slices come from."""
    return {
        "support": "points from the support's mask",
        "clicks": "CLICKS ON THE TRUTH",
        "none": "no points",
    }[config.method.prompt]


def frozen_part(config: Any) -> FrozenPart:
    """Give what no adapter changes of a slice: the encoder up to the first block that has one."""
    own, network, colors = config.method, network_of(config), colors_of(config)
    made_of = dict(
        network=(own.adapter, own.adapter_width, own.last_blocks, plain(own.released)),
        preprocessing=segment_anything.preprocessing_of(config),
    )
    return FrozenPart(made_of, lambda weights, x: to_parts(network.encode(weights, colors(x))))


def clicks_of(own: SelfSampling) -> int:
    """Count the clicks on the truth that each slice is told."""
    return CLICKS if own.prompt == "clicks" else 0


def search_space(own: SelfSampling, shots: int) -> SearchSpace:
    """Try multiples of its rate, and its own steps among others."""
    steps = tuple(sorted({*OWN_GRID.steps, own.test_steps}))
    return SearchSpace({OWN: OWN_GRID._replace(steps=steps)}, (), MOST_OWN)


def check_asked(run: str, own: SelfSampling, asked: Asked) -> None:
    """Refuse clicks on the truth where they would be a leak, and rows that it does not have."""
    if own.prompt == "clicks" and not asked.within:
        raise BadInput(
            f"{run}: clicks lie on the truth; add `protocol=within-volume`, or `prompt=support`"
        )
    if asked.pretrained:
        raise BadInput(
            f"{run}: of ssm-sam nothing is pre-trained here: the same network without "
            "meta-learning is a run with `method.steps=0`"
        )
    if own.prompt == "clicks" and asked.tunes:
        raise BadInput(f"{run}: clicks lie on the truth; search with `prompt=support`")


SSM_SAM = Method(
    "ssm-sam",
    SelfSampling,
    algorithm,
    source=source,
    check=check,
    steps=lambda own: own.test_steps,
    chunks=True,
    own_loss=True,
    frozen_part=frozen_part,
    frozen=lambda begun: {"image_encoder": begun["image_encoder"]},
    validated_by=validated_by,
    footnote=points,
    testing=Testing(
        search_space=search_space,
        own_rule=OwnRule(
            "random initialization",
            "the method's rule from adapters, sampler and decoder drawn at random, on the same "
            "encoder",
            rate=lambda own: own.test_rate,
            at_rate=lambda own, rate: replace(own, test_rate=rate),
        ),
        prompted=lambda own, prompt: replace(own, prompt=prompt),
        clicks=clicks_of,
        searched_as=lambda own: "no points" if own.prompt == "none" else "",
        check=check_asked,
        few=FEW,
    ),
)
