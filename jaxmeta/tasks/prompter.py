"""What slices are given beside their pixels: where they lie, or what an atlas says of them.

A `Prompter` makes the prompts of a support and of the slices of a scan that is asked about. Tasks
are prompted as they are read (`prompted`), tests and predictions by the same two functions, so a
network meets in use what it met in training.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmeta.atlas import Atlas, Rule, evidence
from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.shards.load import load_images
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.episodes import Episode, Slice
from jaxmeta.tasks.source import Source
from jaxmeta.tasks.task import Examples, Task


class Prompter(NamedTuple):
    """support(labelled) and query(labelled, image, height) give prompts, leading axis slices."""

    support: Callable[[Atlas], np.ndarray]
    query: Callable[[Atlas, np.ndarray, np.ndarray], np.ndarray]
    nothing: float = 0.0  # the prompt of what only fills a shape
    beside: int = 0  # slices of a scan, evenly spaced, that are asked along with those of a query


def heights_of(labelled: Atlas) -> Float[np.ndarray, " K"]:
    """Say how high labelled slices lie."""
    return labelled.height


def heights_asked(labelled: Atlas, image, height: Float[np.ndarray, " N"]):
    """Say how high slices lie, whatever the support."""
    return height


def evidence_asked(
    labelled: Atlas, image: Float[np.ndarray, "N S S"], height: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "N S S 4"]:
    """Give the rule's logit for each pixel of a scan's slices, and what it is made of."""
    rule = Rule()
    said = evidence(labelled, image, height, rule)
    logit = said.place + rule.weight * said.ratio
    return np.stack([logit, *said], axis=-1).astype(np.float32)


def evidence_of(labelled: Atlas) -> Float[np.ndarray, "K S S 4"]:
    """Give what the rule says of labelled slices that it is not shown.

    Each scan is told by the other scans; where there is one alone, each slice by its others, and
    the only one by itself, of which the rule then is surer than it will be of anybody.
    """
    count, scans = len(labelled.height), np.unique(labelled.scan)
    parts = scans if len(scans) > 1 else np.arange(count)
    of = labelled.scan if len(scans) > 1 else np.arange(count)
    said = np.empty((*labelled.image.shape, 4), np.float32)
    for part in parts:
        own = of == part
        rest = ~own if count > 1 else own
        known = Atlas(*(each[rest] for each in labelled))
        said[own] = evidence_asked(known, labelled.image[own], labelled.height[own])
    return said


HEIGHTS = Prompter(heights_of, heights_asked, nothing=-1.0)  # 0 to 1
EVIDENCE = Prompter(evidence_of, evidence_asked, beside=8)  # the scan says of its intensities


def remembering(prompter: Prompter, most: int = 32) -> Prompter:
    """Make the same prompter, but let it remember what it was asked last: all rows of a test ask
    it about the same supports and volumes, one row after the other."""
    known = OrderedDict()

    def query(labelled: Atlas, image: np.ndarray, height: np.ndarray) -> np.ndarray:
        asked = b"".join(
            np.ascontiguousarray(each).tobytes() for each in (*labelled, image, height)
        )
        key = hashlib.sha256(asked).digest()
        if key not in known:
            known[key] = prompter.query(labelled, image, height)
        known.move_to_end(key)
        while len(known) > most:
            known.popitem(last=False)
        return known[key]

    return prompter._replace(query=query)


def prompted(source: Source, prompter: Prompter, spacing: float | None = None) -> Source:
    """Give each slice of another source's tasks its prompt; `spacing` as tasks are read."""
    load = partial(load_prompted, source.load, source.pool, prompter, spacing)
    return source._replace(load=load)


def load_prompted(
    load: Callable,
    pool: Pool,
    prompter: Prompter,
    spacing: float | None,
    episode: Episode,
    seed: int,
    index: int,
) -> Task:
    """Read a task and prompt its slices; those of the query that are of one scan together."""
    task = load(episode, seed, index)
    support, query = task.support, task.query
    labelled = labelled_slices(
        support, heights(pool, episode.support), [volume for volume, _ in episode.support]
    )
    asked = np.empty(len(episode.query), object)
    for volume in dict.fromkeys(volume for volume, _ in episode.query):
        own = [place for place, (of, _) in enumerate(episode.query) if of == volume]
        along = beside(pool, volume, prompter.beside)
        slices = [episode.query[place] for place in own] + along
        image = query.image[own]
        if along:
            how = dict(size=image.shape[1], spacing=spacing)
            numbers = [number for _, number in along]
            more = load_images(pool.shards, volume, numbers, **how)
            image = np.concatenate([image, more])
        prompts = prompter.query(labelled, image[..., 0], heights(pool, slices))
        for place, prompt in zip(own, prompts, strict=False):
            asked[place] = prompt
    told = prompter.support(labelled), np.stack(list(asked))
    support, query = (
        each._replace(prompt=filled(prompts, each.valid, prompter.nothing))
        for each, prompts in zip((support, query), told, strict=True)
    )
    return task._replace(support=support, query=query)


def beside(pool: Pool, volume: int, count: int) -> list[Slice]:
    """List slices of a scan, evenly spaced."""
    length = sliced_shape(pool.shards.volumes[volume].grid)[0]
    return [(volume, (2 * n + 1) * length // (2 * count)) for n in range(count)]


def labelled_slices(
    support: Examples, height: Float[np.ndarray, " K"], scans: Sequence[object]
) -> Atlas:
    """Take the valid slices of a support, each at its height and of a scan, as an atlas."""
    kept = np.flatnonzero(support.valid)
    first = list(dict.fromkeys(scans))
    number = np.array([first.index(scans[n]) for n in kept])
    return Atlas(support.image[kept, ..., 0], support.mask[kept], height[kept], number)


def heights(pool: Pool, slices: Sequence[Slice]) -> Float[np.ndarray, " N"]:
    """Say how high each slice lies in its volume: 0 the first, 1 the last."""
    last = [sliced_shape(pool.shards.volumes[volume].grid)[0] - 1 for volume, _ in slices]
    return np.array(
        [number / max(1, end) for (_, number), end in zip(slices, last, strict=True)], np.float32
    )


def filled(prompts: np.ndarray, valid: Bool[np.ndarray, " N"], nothing: float) -> np.ndarray:
    """Put prompts where slices are valid."""
    whole = np.full((len(valid), *prompts.shape[1:]), nothing, prompts.dtype)
    whole[np.asarray(valid)] = prompts
    return whole
