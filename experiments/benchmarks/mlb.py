"""How fast MLB-Seg learns: an iteration, and a plain step on the same images.

The iteration is whole: looks are drawn and made, the ensemble labels, the teacher is asked. The
usual yardstick in other frameworks is given all of that as numbers, and so are we with `parity`:
weights, batch and results of such a program are read from a file, and agreement is shown.
"""

from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.core import as_unet, timed
from jaxmeta.errors import BadInput
from jaxmeta.learners import mlb_seg as method
from jaxmeta.learners.mlb_seg import Bootstrapping, Rule, Seen, cross_entropy, descended
from jaxmeta.methods.mlb_seg.method import forward_of
from jaxmeta.models import unet, unet_plus_plus
from jaxmeta.parallel import devices
from jaxmeta.tasks.task import Examples, Task

RULE = Rule(lambda step: 0.005)
WEIGHTS, LOSSES = 1e-3, 1e-5  # how far apart, of 99 in 100: of the largest weight; relative


def mlb_step(
    *,
    size: int,
    width: int,
    unlabelled: int,
    clean: int,
    network: str = "unet",
    repeat: int = 5,
    parity: Path | None = None,
) -> dict:
    """Time an iteration and a plain step; with `parity`, raise BadInput where results differ."""
    make, levels = (unet, 4) if network == "unet" else (unet_plus_plus, 5)
    model = make(tuple(width * 2**level for level in range(levels)))
    mesh = devices.image_mesh()
    forward = forward_of(model, mesh)
    # not compiled, so that what it finds can be kept: a mesh would need that
    apart = agreement(forward_of(model), parity, size) if parity else {}
    learner = method.mlb_seg(forward, lambda key: (model.init(key), ()), RULE)
    state = devices.jit(learner.init)(jax.random.key(0))
    state, batch = devices.replicate((state, a_task(size, unlabelled, clean)), mesh)
    figures, _ = timed(learner.step, state, batch, repeat)

    image, label = slices(method.LOOKS * (unlabelled + clean), size)
    student = state.student, state.momentum

    def plain(student, batch):
        image, label = batch

        def loss(student):
            return cross_entropy(forward(student, (), image, train=True)[0], label).mean()

        return descended(*student, jax.grad(loss)(student[0]), 0.005, RULE)

    plain_batch = devices.replicate((image, label.astype(np.float32)), mesh)
    plainly, _ = timed(plain, student, plain_batch, repeat)
    figures |= dict(
        plain_seconds=plainly["seconds"],
        plain_steps=figures["seconds"] / plainly["seconds"],
        plain_mib=plainly["temporary_mib"],
        memory_of_plain=figures["temporary_mib"] / max(plainly["temporary_mib"], 1e-9),
    )
    return figures | apart


def slices(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw slices and masks."""
    image = np.random.default_rng(0).normal(size=(count, size, size, 1)).astype(np.float32)
    return image, (image[..., 0] > 0.5).astype(np.uint8)


def a_task(size: int, unlabelled: int, clean: int) -> Task:
    """Make a batch of one task of such slices."""
    parts = (Examples(*slices(n, size), np.ones(n, bool)) for n in (clean, unlabelled))
    task = Task(*parts, np.zeros(2, np.uint32), np.zeros(2, np.int32))
    return jax.tree.map(lambda leaf: leaf[None], task)


def agreement(forward, path: Path, size: int) -> dict:
    """Make the yardstick's iteration, and say how far apart weights and losses are."""
    with np.load(path) as file:
        held = dict(file)
    if held["x"].shape[-1] != size:
        raise BadInput(f"{path} holds slices of {held['x'].shape[-1]} pixels: give its size")
    trees = (
        as_unet({n[2:]: a for n, a in held.items() if n.startswith(f"{kind}/")}) for kind in "wtm"
    )
    student, teacher, momentum = trees
    state = Bootstrapping(student, (), teacher, momentum, jnp.asarray(10_000), jnp.asarray(0))
    kept = {}

    def normalized(aligned):
        kept["weights"] = np.asarray(own(aligned))
        return jnp.asarray(kept["weights"])

    def regularization(logits, told, at, rule):
        """Agree with numbers, which came in the place of the labels' sureness."""
        p = jax.nn.sigmoid(logits)
        return ((p - at.sure) ** 2).mean() + ((p - told) ** 2).mean(), {}

    def labels_of(probability, at, rule):
        return jnp.stack([held["yn"], held["yp"]], axis=-1), None

    own = method.normalized
    given = [
        seen_as(held, x, y, target, noise)
        for x, y, target, noise in (("x", "yn", "r", "noise"), ("xc", "yc", "rc", "noisec"))
    ]
    with (
        mock.patch.object(method, "normalized", normalized),
        mock.patch.object(method, "regularization", regularization),
        mock.patch.object(method, "labels_of", labels_of),
    ):
        _, found = method.iterate(forward, RULE, state, *given)
    expected = np.moveaxis(held["weights"], 1, -1)
    off = np.abs(kept["weights"] - expected) / expected.max()
    # a unit at the kink of a ReLU, or a tie of two pixels, is on either side in float32: some
    # pixels' derivatives are others, of the yardstick too where float64 is the judge
    apart = dict(weights=float(np.quantile(off, 0.99)))
    for name, ours in (("meta", "meta_loss"), ("real", "loss")):
        apart[name] = abs(float(found[ours]) / float(held[name]) - 1)
    for name, value in apart.items():
        limit = WEIGHTS if name == "weights" else LOSSES
        if not value <= limit:
            raise BadInput(f"{name} are {value:.1e} apart from those of {path}, over {limit:g}")
    told = {f"{name}_apart": value for name, value in apart.items()}
    return told | dict(weights_apart_at_most=float(off.max()))


def seen_as(held: dict, image: str, label: str, target: str, noise: str) -> Seen:
    """Take the yardstick's numbers for looks at slices; all of each is shown."""
    count, size = held[image].shape[0], held[image].shape[-1]
    return Seen(
        jnp.moveaxis(held[image], 1, -1),
        jnp.asarray(held[label]),
        None,
        jnp.ones((count // method.LOOKS, method.LOOKS, size, size), bool),
        jnp.moveaxis(held[noise], 1, -1) / RULE.noise,
        jnp.asarray(held[target]),
    )
