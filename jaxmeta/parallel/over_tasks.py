"""The task axis: one function of a task becomes one function of a batch of tasks.

Everything with an axis for tasks is made here, so scan, `vmap`, chunks and devices are decided in
one place. The whole of an algorithm's `outer` is mapped, its differentiation included, and
meta-gradients are summed in the carry of a scan: memory is one chunk's, however many tasks there
are."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import PyTree


def over_tasks(
    outer: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    *,
    mesh: Mesh | None = None,
    chunk: int = 1,
    task_weights: Callable[[PyTree], jax.Array] | None = None,
) -> Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]:
    """Make (meta, tasks [T, ...]) -> (meta_gradient, statistics [T, ...]) of (meta, task) -> the
    same.

    `tasks` is any tree with one more leading axis T on every leaf (a `Task`, say), a multiple of
    `chunk` on each device; `outer` sees it without. A meta-gradient is a tree like what is
    learned, statistics are scalars.

    The meta-gradient is the mean over all tasks, or their sum weighted by `task_weights(statistics
    of all T)`, which then also hold each meta-gradient's `deviation`, its squared distance from the
    mean of all T. `chunk` tasks are done side by side with `vmap`, chunks one after another: 1 is
    right on a CPU, all of a device's tasks on an accelerator, between the two when memory is short.

    With a mesh, tasks are spread over its axis "task". Differentiation happens *inside* the shard,
    and replication is not checked: under the check, a gradient taken with respect to replicated
    parameters is summed over devices, and the inner loops would silently adapt to everybody's
    tasks.
    """

    # Shapes are asked for before the scan is made: as a jitted function `outer` is traced once for
    # both.
    outer = jax.jit(outer, inline=True)

    def side_by_side(meta, some):
        if chunk > 1:
            return jax.vmap(outer, (None, 0))(meta, some)
        one = outer(meta, jax.tree.map(lambda a: a[0], some))  # no axis to map: quicker to trace
        return jax.tree.map(lambda a: a[None], one)

    def chunked(tasks):
        count = count_of(tasks)
        if count % chunk:
            raise ValueError(f"{count} tasks on a device do not split into chunks of {chunk}")
        return jax.tree.map(lambda a: a.reshape(count // chunk, chunk, *a.shape[1:]), tasks)

    def summed(meta, tasks):
        def body(total, some):
            meta_gradients, statistics = side_by_side(meta, some)
            return jax.tree.map(lambda t, d: t + d.sum(0), total, meta_gradients), statistics

        some = chunked(tasks)
        first = jax.tree.map(lambda a: a[0, 0], some)
        shapes, _ = jax.eval_shape(outer, meta, first)
        total = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        total, statistics = jax.lax.scan(body, total, some)
        return total, merged(statistics)

    def weighted(meta, tasks, gather):
        meta_gradients, statistics = jax.lax.map(
            lambda some: side_by_side(meta, some), chunked(tasks)
        )
        meta_gradients, statistics = merged(meta_gradients), merged(statistics)
        statistics["deviation"] = deviation(meta_gradients, count_of(tasks))
        weights = gather(task_weights)(statistics)
        return jax.tree.map(lambda d: jnp.tensordot(weights, d, 1), meta_gradients), statistics

    def deviation(meta_gradients, local):
        means = jax.tree.map(
            lambda d: d.sum(0) / (local * (mesh.size if mesh else 1)), meta_gradients
        )
        means = jax.lax.psum(means, "task") if mesh else means
        apart = jax.tree.map(
            lambda d, m: ((d - m[None]) ** 2).sum(range(1, d.ndim)), meta_gradients, means
        )
        return sum(jax.tree.leaves(apart))

    def everywhere(meta, tasks):
        local = count_of(tasks)
        total = local * (mesh.size if mesh else 1)

        # weights of all tasks of the step, of which each device keeps its own
        def gather(task_weights):
            def own(statistics):
                if mesh is None:
                    return task_weights(statistics)
                all_ = jax.tree.map(lambda a: jax.lax.all_gather(a, "task", tiled=True), statistics)
                start = jax.lax.axis_index("task") * local
                return jax.lax.dynamic_slice_in_dim(task_weights(all_), start, local)

            return own

        if task_weights:
            meta_gradient, statistics = weighted(meta, tasks, gather)
        else:
            meta_gradient, statistics = summed(meta, tasks)
            meta_gradient = jax.tree.map(lambda d: d / total, meta_gradient)
        if mesh:
            meta_gradient = jax.lax.psum(meta_gradient, "task")
        return meta_gradient, statistics

    if mesh is None:
        return everywhere
    spread, same = PartitionSpec("task"), PartitionSpec()
    return jax.shard_map(
        everywhere,
        mesh=mesh,
        in_specs=(same, spread),
        out_specs=(same, spread),
        check_vma=False,
    )


def count_of(tasks: PyTree) -> int:
    """Count the tasks of a batch: the leading axis of any leaf."""
    return jax.tree.leaves(tasks)[0].shape[0]


def merged(values: PyTree) -> PyTree:
    """Join the axes of chunks and of tasks within a chunk."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), values)
