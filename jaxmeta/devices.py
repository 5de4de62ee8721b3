"""Where the work runs: devices as one mesh axis of tasks, and batches placed upon it."""

import os

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


def split_processor(devices: int | None = None) -> None:
    """Ask for one virtual CPU device per core; for entry points, before anything touches a device.

    Most products of one task run as fast on one core as on two, so a processor works best as several
    devices with tasks of their own. It changes nothing where there is a GPU or TPU.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", devices or cores or 1)


def task_mesh(tasks: int) -> Mesh:
    """Make a mesh with one axis, "task", of the most devices that share `tasks` evenly."""
    count = max(n for n in range(1, jax.device_count() + 1) if tasks % n == 0)
    devices = np.asarray(jax.devices()[:count])
    return Mesh(devices, ("task",), axis_types=(AxisType.Auto,))


def place(batch: PyTree, mesh: Mesh) -> PyTree:
    """Spread the leading axis of a host batch over the mesh; every process gives its own tasks."""
    sharding = NamedSharding(mesh, PartitionSpec("task"))
    return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a), batch)


def replicate(values: PyTree, mesh: Mesh) -> PyTree:
    """Put a copy of the values on every device of the mesh."""
    return jax.device_put(values, NamedSharding(mesh, PartitionSpec()))


def describe_devices() -> str:
    """Name the hardware in one line: "2 x cpu (TFRT_CPU)"."""
    first = jax.devices()[0]
    return f"{jax.device_count()} x {first.platform} ({first.device_kind})"
