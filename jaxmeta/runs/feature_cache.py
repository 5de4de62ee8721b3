"""What no adapter changes of a run's slices, computed once and kept on disk.

With adapters in every block that is the patch embedding and, for high-pass adapters, the high
frequencies; with `method.last_blocks` all that lies before them.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import PyTree

from jaxmeta.data.names import amount
from jaxmeta.data.shards.load import load_images
from jaxmeta.data.shards.shards import cohort_of
from jaxmeta.files import plain
from jaxmeta.methods import method_of
from jaxmeta.parallel import devices
from jaxmeta.progress import following, slow_start
from jaxmeta.runs.config import Config
from jaxmeta.runs.run import fingerprint
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.episodes import Slice
from jaxmeta.tasks.feature_cache import Cache, cached, keep, not_kept, open_cache
from jaxmeta.tasks.slice_chunks import shown_of
from jaxmeta.tasks.source import Source

TOGETHER = 4  # slices


def with_prefixes(config: Config, source: Source, backbone: PyTree) -> Source:
    """Keep the prefix of every slice that a source may draw, and draw it instead of pixels."""
    shards, tasks = source.pool.shards, config.tasks
    own = method_of(config.method).frozen_part(config)
    whose = own.made_of | dict(weights=fingerprint(backbone), data=cohort_of(shards))
    whose |= dict(size=tasks.size, spacing=tasks.mm, released=plain(config.released))
    cache = open_cache(config.feature_cache, [volume.name for volume in shards.volumes], whose)
    fill(config, cache, source.pool, partial(devices.jit(own.encode), backbone))
    return cached(source, cache, partial(shown_of, tasks.width))


def fill(config: Config, cache: Cache, pool: Pool, encode: Callable[..., PyTree]) -> None:
    """Compute and keep what the cache lacks."""
    tasks = config.tasks
    wanted = not_kept(cache, slices_of(pool))
    first = f"prefixes: {amount(len(wanted), 'slice')} to go; {slow_start()}" if wanted else ""
    with following("prefixes", "slice", len(wanted), first=first) as tell:
        for start in range(0, len(wanted), TOGETHER):
            some = wanted[start : start + TOGETHER]
            image = np.concatenate(
                [
                    load_images(pool.shards, v, [n], size=tasks.size, spacing=tasks.mm)
                    for v, n in some
                ]
            )
            image = np.pad(image, [(0, TOGETHER - len(some))] + [(0, 0)] * 3)  # one shape for all
            parts = jax.device_get(encode(image))
            for place, at in enumerate(some):
                keep(cache, at, {name: array[place] for name, array in parts.items()})
            tell(more=len(some))


def slices_of(pool: Pool) -> list[Slice]:
    """List all slices that a pool's structures may be drawn from."""
    return sorted(
        {
            (volume, int(n))
            for entry in pool.entries
            for scans in entry.patients.values()
            for volume, slices in scans
            for n in slices
        }
    )
