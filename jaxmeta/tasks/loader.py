"""The border between NumPy and JAX: episodes in order, shared out over processes, in batches of
tasks.

Grain reads ahead in threads (decompressing and resizing let the interpreter go) and keeps the
place: `get_state` and `set_state` are a few bytes, and the iterator itself is something Orbax can
save.
"""

import functools

import grain
import jax
from absl import flags

from jaxmeta.errors import BadInput
from jaxmeta.tasks.source import Source, load_task

EPISODES = 2**31 - 1  # as many as an int32 can name: no run comes to the end


def task_batches(
    source: Source,
    *,
    seed: int,
    tasks: int,
    process_index: int | None = None,
    process_count: int | None = None,
    threads: int = 2,
    prefetch: int = 4,
    workers: int = 0,
) -> grain.DatasetIterator:
    """Iterate over batches of `tasks` tasks: leaves [T, ...] of NumPy arrays, without end.

    Batch s is episodes s * tasks to (s + 1) * tasks - 1 however many processes there are: each
    takes every `process_count`-th of them. `prefetch` batches are made ahead by `threads` threads;
    `workers` above 0 makes them in as many processes instead, of `threads` threads each, for
    machines where threads cannot keep up. A script that asks for workers needs the `__main__`
    guard, and `close()` on the iterator ends them.
    """
    process_index = jax.process_index() if process_index is None else process_index
    process_count = jax.process_count() if process_count is None else process_count
    if tasks < 1 or tasks % process_count:
        raise BadInput(f"{tasks} tasks a step cannot be shared by {process_count} process(es)")
    load = functools.partial(load_task, source, seed)
    episodes = grain.MapDataset.range(EPISODES).map(load)[process_index::process_count]
    batches = episodes.batch(tasks // process_count, drop_remainder=True)
    stream = batches.to_iter_dataset(grain.ReadOptions(threads, prefetch))
    if workers:
        flags.FLAGS.mark_as_parsed()  # or Grain's workers refuse to start: google/grain issue 1355
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(stream)
