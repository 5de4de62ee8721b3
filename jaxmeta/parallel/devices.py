"""Where the work runs: compiled for its devices, spread over one mesh axis of tasks."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxmeta.errors import BadInput

EFFORT = 1  # LLVM's level of optimization on a processor


def begin(cache: Path = Path("runs") / ".compiled", *, distributed: bool = False) -> None:
    """Ready a process of an entry point: a device per core, compiled programs kept for the next
    one.

    `distributed` makes it one of many: JAX finds the others by what Slurm, Open MPI or a TPU pod
    told each. Raises BadInput where nobody did.
    """
    split_processor()
    jax.config.update("jax_compilation_cache_dir", str(cache.resolve()))
    if distributed:
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise BadInput(
                f"`distributed`: nothing here tells this process of others ({error}); start all of "
                "them with srun or mpirun, or leave the option out"
            ) from None


def split_processor() -> None:
    """Ask for one virtual CPU device per core; for entry points, before anything touches a device.

    Most products of one task run as fast on one core as on two, so a processor works best as
    several devices with tasks of their own. It changes nothing where there is a GPU or TPU, or
    where the user has said how many (JAX_NUM_CPU_DEVICES).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if jax.config.jax_num_cpu_devices < 1:
        jax.config.update("jax_num_cpu_devices", cores or 1)


def jit(function: Callable, **options) -> Callable:
    """Compile as `jax.jit` does, but no harder than pays.

    On a processor LLVM's first level of optimization gives programs as fast as its highest, in two
    thirds to three quarters of the time: what matters XLA has done before, or is inside products.
    """
    if jax.default_backend() == "cpu":
        options["compiler_options"] = {"xla_backend_optimization_level": EFFORT}
    return jax.jit(function, **options)


def whole_tasks(asked: int | None, usual: int, devices: int) -> int:
    """Choose the tasks of a step: those asked for, or the usual number rounded up for the devices.

    Raises BadInput for a number asked for that the devices cannot share evenly.
    """
    if asked is None:
        return -(-usual // devices) * devices
    if asked % devices:
        more = -(-asked // devices) * devices
        raise BadInput(
            f"{asked} tasks a step do not spread evenly over {devices} devices: ask for {more}, or "
            "leave the number to us"
        )
    return asked


def to_be_fed() -> int:
    """Count the devices that each need a task: all, but for the virtual ones of one process's
    CPU."""
    alone = jax.process_count() == 1 and jax.default_backend() == "cpu"
    return 1 if alone else jax.device_count()


def task_mesh(tasks: int, *, local: bool = False) -> Mesh:
    """Make a mesh with one axis, "task", of the most devices that share `tasks` evenly.

    A `local` one is of this process's devices alone.
    """
    devices = jax.local_devices() if local else jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if tasks % n == 0)
    return Mesh(np.asarray(devices[:count]), ("task",), axis_types=(AxisType.Auto,))


def image_mesh() -> Mesh:
    """Make a mesh of all devices, for what has one batch whose images they share."""
    return task_mesh(jax.device_count())


def side_by_side(tasks: int, mesh: Mesh) -> int:
    """Say how many of its tasks a device does best at once: one on a processor, all elsewhere."""
    return 1 if mesh.devices.flat[0].platform == "cpu" else tasks // mesh.size


def place(batch: PyTree, mesh: Mesh) -> PyTree:
    """Spread the leading axis of a host batch over the mesh; every process gives its own tasks."""
    sharding = NamedSharding(mesh, PartitionSpec("task"))
    return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a), batch)


def everywhere(mesh: Mesh) -> NamedSharding:
    """Say where a value lies of which every device of the mesh has a copy."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(values: PyTree, mesh: Mesh) -> PyTree:
    """Put a copy of the values on every device of the mesh."""
    return jax.device_put(values, everywhere(mesh))


def any_process(flag: bool) -> bool:
    """Tell whether the flag is up in any process; all must ask, and get the same answer."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def describe_devices() -> str:
    """Name the hardware in one line: "2 x cpu (TFRT_CPU)"."""
    first = jax.devices()[0]
    return f"{jax.device_count()} x {first.platform} ({first.device_kind})"
