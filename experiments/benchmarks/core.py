"""How fast the core is: a meta-gradient, and an adaptation. What `experiments.benchmark` runs.

The meta-step is that of the usual yardstick in other frameworks: U-Net of depth 4, GroupNorm of 8
groups, inner SGD at 0.01, binary cross-entropy + soft Dice, support and query the same slices. With
`parity`, weights, batch and results of such a program are read from a file, and agreement is shown.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from jaxmeta import algorithms
from jaxmeta.algorithms import Algorithm
from jaxmeta.errors import BadInput
from jaxmeta.inner_loop.rematerialise import REMAT, Memory
from jaxmeta.losses.segmentation import segmentation_loss
from jaxmeta.methods.parts import MEMORY
from jaxmeta.models import unet
from jaxmeta.parallel import devices
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.task import Examples, Task
from jaxmeta.training.loop import cost

PARITY = {"loss": 1e-5, "grad_norm": 1e-3}  # relative; two correct float32 programs differ by this


def meta_step(
    *,
    size: int,
    width: int,
    steps: int,
    tasks: int,
    shots: int,
    order: int = 2,
    algorithm: str = "maml",
    memory: str = "remat",
    repeat: int = 5,
    parity: Path | None = None,
) -> dict:
    """Time the meta-gradient of a batch of tasks; with `parity`, raise BadInput where results
    differ."""
    algorithm = build(algorithm, width, steps=steps, order=order, memory=MEMORY[memory])
    mesh = devices.task_mesh(tasks)
    meta = devices.jit(algorithm.init)(jax.random.key(0))
    image = np.random.default_rng(0).normal(size=(tasks, shots, size, size, 1)).astype(np.float32)
    mask = (image[..., 0] > 0.5).astype(np.uint8)
    if parity:
        expected = read_parity(parity)
        meta = meta._replace(learned=dict(theta=expected["theta"], rate=()))
        image, mask = expected["image"], expected["mask"]
        if image.shape != (tasks, shots, size, size, 1):
            raise BadInput(f"{parity} holds a batch of {image.shape}: give its sizes")
    batch = devices.place(a_batch(image, mask), mesh)
    chunk = devices.side_by_side(tasks, mesh)
    function = over_tasks(algorithm.outer, mesh=mesh, chunk=chunk)
    figures, (meta_gradient, statistics_) = timed(
        function, devices.replicate(meta, mesh), batch, repeat
    )
    figures |= dict(
        loss=float(np.mean(jax.device_get(statistics_["loss"]))),
        grad_norm=float(optax.tree.norm(meta_gradient)),
    )
    if parity:
        for name, limit in PARITY.items():
            apart = abs(figures[name] / float(expected[name]) - 1)
            figures[f"{name}_apart"] = apart
            if not apart <= limit:
                raise BadInput(
                    f"{name} is {figures[name]:.7f}, {parity} has {float(expected[name]):.7f}: "
                    f"{apart:.1e} apart, more than {limit:g}"
                )
    return figures


def build(name: str, width: int, *, steps: int, order: int, memory: Memory) -> Algorithm:
    """Make an algorithm of the yardstick's network, its inner loop SGD at 0.01."""
    model = unet((width, 2 * width, 4 * width, 8 * width))
    loss, walk = segmentation_loss(model), dict(steps=steps, rate=0.01, order=order, memory=memory)
    match name:
        case "maml":
            return algorithms.maml(model, loss, **walk)
        case "anil":
            return algorithms.maml(model, loss, **walk, trainable=("head",))
        case "meta-sgd":
            return algorithms.maml(model, loss, **walk, learn_rate=True)
        case "maml++":
            return algorithms.maml_plus_plus(model, loss, **walk)
        case "reptile":
            return algorithms.reptile(model, loss, steps=steps)
        case "imaml":
            return algorithms.imaml(model, loss, steps=steps)
        case "prototypes":
            return algorithms.prototypes(model, segmentation_loss)
    raise BadInput(f"unknown algorithm {name!r}")


def adaptation(*, size: int, width: int, steps: int, shots: int, repeat: int = 5) -> dict:
    """Time the adaptation to one support by a meta-learned rule, as at test time."""
    algorithm = build("meta-sgd", width, steps=steps, order=1, memory=REMAT)
    meta = devices.jit(algorithm.init)(jax.random.key(0))
    image = np.random.default_rng(0).normal(size=(shots, size, size, 1)).astype(np.float32)
    mask = (image[..., 0] > 0.5).astype(np.uint8)
    support = Examples(image, mask, np.ones(shots, bool))
    return timed(lambda m, s: algorithm.adapt(m, s, jax.random.key(0)), meta, support, repeat)[0]


def timed(function: Callable, first: Any, second: Any, repeat: int) -> tuple[dict, Any]:
    """Compile and run a function of two values: its figures, and its last result."""
    began = time.perf_counter()
    compiled = devices.jit(function).lower(first, second).compile()
    compiling = time.perf_counter() - began
    result = jax.block_until_ready(compiled(first, second))
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        result = jax.block_until_ready(compiled(first, second))
        seconds.append(time.perf_counter() - began)
    figures = dict(
        seconds=statistics.median(seconds),
        least=min(seconds),
        most=max(seconds),
        compile_seconds=compiling,
        devices=devices.describe_devices(),
    )
    return figures | cost(compiled), result


def a_batch(image: np.ndarray, mask: np.ndarray) -> Task:
    """Make tasks of images [T, N, H, W, 1] and masks, each its own query."""
    tasks, shots = image.shape[:2]
    examples = Examples(image, mask, np.ones((tasks, shots), bool))
    keys = np.arange(2 * tasks, dtype=np.uint32).reshape(tasks, 2)
    return Task(examples, examples, keys, np.zeros((tasks, 2), np.int32))


def read_parity(path: Path) -> dict:
    """Read weights `w/enc.0.c1.weight` (convolutions OIHW), batch, loss and norm of the
    yardstick."""
    with np.load(path) as file:
        held = dict(file)
    theta = as_unet({name[2:]: value for name, value in held.items() if name.startswith("w/")})
    return {
        "theta": theta,
        "image": np.moveaxis(held["x"], 2, -1),
        "mask": held["y"].astype(np.uint8),
        "loss": held["loss"],
        "grad_norm": held["grad_norm"],
    }


def as_unet(weights: dict[str, np.ndarray]) -> dict:
    """Name the yardstick's weights, convolutions OIHW, as our U-Net does."""

    def block(prefix: str) -> dict:
        return {
            **{
                f"conv_{n}": {"kernel": weights[f"{prefix}.c{n}.weight"].transpose(2, 3, 1, 0)}
                for n in (1, 2)
            },
            **{
                f"norm_{n}": {
                    "scale": weights[f"{prefix}.n{n}.weight"],
                    "bias": weights[f"{prefix}.n{n}.bias"],
                }
                for n in (1, 2)
            },
        }

    levels = len({name.split(".")[1] for name in weights if name.startswith("enc.")})
    theta = {f"down_{level}": block(f"enc.{level}") for level in range(levels)}
    theta |= {f"up_{level}": block(f"dec.{level}") for level in range(levels - 1)}
    theta["head"] = {"kernel": weights["out.weight"][:, :, 0, 0].T, "bias": weights["out.bias"]}
    return theta
