"""Where the work runs: compiled for its devices, spread over one mesh axis of tasks."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


def begin(cache: Path = Path("runs") / ".compiled") -> None:
    """Ready a process of an entry point: a device per core, compiled programs kept for the next one."""
    split_processor()
    jax.config.update("jax_compilation_cache_dir", str(cache.resolve()))


def split_processor(devices: int | None = None) -> None:
    """Ask for one virtual CPU device per core; for entry points, before anything touches a device.

    Most products of one task run as fast on one core as on two, so a processor works best as several
    devices with tasks of their own. It changes nothing where there is a GPU or TPU.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", devices or cores or 1)


def jit(function: Callable, **options) -> Callable:
    """Compile as `jax.jit` does, but no harder than pays.

    On a processor LLVM's first level of optimisation gives programs as fast as its highest, in two
    thirds to three quarters of the time: what matters XLA has done before, or is inside products.
    """
    if jax.default_backend() == "cpu":
        options["compiler_options"] = {"xla_backend_optimization_level": 1}
    return jax.jit(function, **options)


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
