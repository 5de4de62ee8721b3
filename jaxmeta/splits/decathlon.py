"""The 24 sub-tasks that MetaMedSeg makes of the Medical Segmentation Decathlon (arXiv 2109.09734).

Each is one structure in one channel. A slice counts where the structure has enough pixels at native
resolution, and the sub-tasks of a data set share its weight: a data set of several is drawn with
probability 1 in all, but for the brain's twelve, 0.08 each. The five targets are held out of
meta-training, which leaves 19 of a total weight of 4.96.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.splits.split import some_of
from jaxmeta.tasks.volumetric import with_pixels


class SubTask(NamedTuple):
    """A structure, as the data set's own `dataset.json` calls it, in one channel (or in the only
    one)."""

    dataset: str
    organ: str
    channel: str | None
    pixels: int  # least, in a slice that counts
    weight: float


BRAIN = {"edema": 1000, "non_enhancing_tumor": 400, "enhancing_tumour": 600}
SUBTASKS = (
    *(
        SubTask("braintumour", organ, channel, pixels, 0.08)
        for organ, pixels in BRAIN.items()
        for channel in ("flair", "t1w", "t1gd", "t2w")
    ),
    SubTask("heart", "left_atrium", None, 700, 1.0),
    SubTask("hippocampus", "anterior", None, 100, 0.5),
    SubTask("hippocampus", "posterior", None, 100, 0.5),
    SubTask("prostate", "pz", "t2", 300, 0.5),
    SubTask("prostate", "tz", "t2", 600, 0.5),
    SubTask("lung", "cancer", None, 1000, 1.0),
    SubTask("pancreas", "pancreas", None, 1000, 0.5),
    SubTask("pancreas", "cancer", None, 1000, 0.5),
    SubTask("hepaticvessel", "vessel", None, 1000, 0.5),
    SubTask("hepaticvessel", "tumour", None, 1000, 0.5),
    SubTask("spleen", "spleen", None, 600, 1.0),
    SubTask("colon", "colon_cancer_primaries", None, 400, 1.0),
)
# What the data sets call themselves in `dataset.json`, where it is not their folder's name.
ALIASES = {"brats": "braintumour", "leftatrium": "heart", "hepaticvessels": "hepaticvessel"}
TARGETS = ("left_atrium", "pz", "tz", "spleen", "colon_cancer_primaries")


def decathlon_pool(pool: Pool) -> Pool:
    """Keep what a pool has of the sub-tasks, with their thresholds and weights.

    Raises BadInput where it has none of them.
    """
    known = {(sub.dataset, sub.organ, sub.channel): sub for sub in SUBTASKS}
    found = [(entry, sub) for entry in pool.entries if (sub := known.get(identified(entry)))]
    if not found:
        have = [
            f"{e.dataset}/{e.organ}" + f" ({e.channel})" * bool(e.channel) for e in pool.entries
        ]
        raise BadInput(
            f"no sub-task of the Decathlon among {some_of(have)}: prepare the folders "
            "Task01_BrainTumour to Task10_Colon by those names, of several channels with `channel`"
        )
    weighed = tuple(entry._replace(weight=sub.weight) for entry, sub in found)
    least = {number: sub.pixels for number, (_, sub) in enumerate(found)}
    return with_pixels(pool._replace(entries=weighed), least)


def identified(entry: Entry) -> tuple[str, str, str | None]:
    """Name an entry as the sub-tasks are named: Task01_BrainTumour and BRATS are one data set."""
    name = re.sub(r"^task\d+|_", "", entry.dataset)
    return ALIASES.get(name, name), entry.organ, entry.channel and slug(entry.channel)


def lacking(pool: Pool, held_out: Iterable[str]) -> list[str]:
    """Name the sub-tasks that a pool does not have, but for organs that are held out."""
    have = {identified(entry) for entry in pool.entries}
    return [
        f"{sub.dataset}/{sub.organ}" + f" ({sub.channel})" * bool(sub.channel)
        for sub in SUBTASKS
        if sub.organ not in set(held_out) and (sub.dataset, sub.organ, sub.channel) not in have
    ]
