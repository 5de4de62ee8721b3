"""What it costs that volumes have different lengths: MetaMedSeg's step, padded and not."""

import jax
import numpy as np
import optax

from experiments.benchmarks.core import a_batch, timed
from jaxmeta.algorithms import Algorithm, metamedseg
from jaxmeta.inner_loop.adapt import descend
from jaxmeta.inner_loop.plan import one_by_one
from jaxmeta.losses.of_slices import LOSSES, slice_loss
from jaxmeta.models import instance_unet
from jaxmeta.parallel import devices
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.task import Task

ADAM = optax.adam(0.01)


def volumes(
    *, size: int, tasks: int, slices: int, fill: float, epochs: int, repeat: int = 3
) -> dict[str, float]:
    """Time a step whose volumes fill `fill` of their room, and the same where the loop has no
    rests.

    Figures are also given for a valid slice and epoch, which is what may be compared.
    """
    model = instance_unet()
    loss = slice_loss(model, LOSSES["iou"])
    algorithm = metamedseg(model, loss, epochs=epochs, inner=ADAM)

    def without_rests(meta, task):
        plan = one_by_one(task.support, epochs)._replace(active=np.ones(epochs * slices, bool))
        phi, losses = descend(
            loss, meta.learned["theta"], task.support, plan, update=ADAM, key=jax.random.key(0)
        )
        away = jax.tree.map(lambda a, b: a - b, meta.learned["theta"], phi)
        return dict(theta=away), dict(last=losses[-1])

    image = np.random.default_rng(0).normal(size=(tasks, slices, size, size, 1)).astype(np.float32)
    full = a_batch(image, (image[..., 0] > 0.5).astype(np.uint8))
    lengths = np.linspace(2 * fill - 1, 1, tasks) * slices  # their mean is fill
    dealt = [
        n // 2 if n % 2 == 0 else -(n // 2 + 1) for n in range(tasks)
    ]  # short and long in turn
    lengths = lengths[dealt]
    valid = np.arange(slices) < np.round(lengths)[:, None]
    padded = full._replace(support=full.support._replace(valid=valid), query=short(full))
    full = full._replace(query=short(full))
    count = {"padded": int(valid.sum()) * epochs, "full": tasks * slices * epochs}
    figures = {"filled": float(valid.mean())}
    for name, outer, batch in (
        ("padded", algorithm.outer, padded),
        ("full", without_rests, full),
    ):
        seconds = step_seconds(algorithm, outer, batch, tasks, repeat)
        figures |= {f"{name}_seconds": seconds, f"{name}_ms_a_slice": 1e3 * seconds / count[name]}
    return figures | {"ratio": figures["padded_ms_a_slice"] / figures["full_ms_a_slice"]}


def short(batch: Task):
    """Make the query one slice, so that the walk is what is timed."""
    return jax.tree.map(lambda a: a[:, :1], batch.query)


def step_seconds(algorithm: Algorithm, outer, batch: Task, tasks: int, repeat: int) -> float:
    """Time the meta-gradient of a batch, spread over the devices."""
    mesh = devices.task_mesh(tasks)
    meta = devices.replicate(devices.jit(algorithm.init)(jax.random.key(0)), mesh)
    function = over_tasks(outer, mesh=mesh, chunk=devices.side_by_side(tasks, mesh))
    return timed(function, meta, devices.place(batch, mesh), repeat)[0]["seconds"]
