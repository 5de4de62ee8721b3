"""How fast volumes become shards and shards become slices: what `experiments.benchmark` runs.

Both work on one core. `prepare` is compared with nibabel merely loading the same files into memory;
`load` reads batches as meta-training does, every slice from a volume of its own choice.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from jaxmeta.data.cases import find_cases
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare as prepare_shards
from jaxmeta.data.shards.shards import holders, open_shards, structures


def prepare(folders: Sequence[str | Path], *, repeat: int = 3, **options) -> dict:
    """Time preparing folders with one worker against loading their files with nibabel.

    `options` are those of `prepare_data` that the folders need (modality, labels, channel).
    """
    words = ("modality", "labels", "channel")
    finding = {key: options[key] for key in words if key in options}
    files = [
        file for case in find_cases(folders, **finding)[0] for file in (case.image, case.label)
    ]
    ours, theirs = [], []
    for _ in range(repeat):  # in turn, so that a busy machine slows both alike
        started = time.process_time()
        for file in files:
            np.asarray(nib.load(file).dataobj)
        theirs.append(time.process_time() - started)
        with tempfile.TemporaryDirectory() as output:
            started = time.process_time()
            prepare_shards(folders, Path(output), workers=1, **options)
            ours.append(time.process_time() - started)
    seconds, nibabel = statistics.median(ours), statistics.median(theirs)
    return {
        "volumes": len(files) // 2,
        "seconds": round(seconds, 3),
        "nibabel_seconds": round(nibabel, 3),
        "ratio": round(seconds / nibabel, 3),
    }


def load(
    shards: Sequence[str | Path],
    *,
    size: int = 128,
    tasks: int = 4,
    slices: int = 10,
    batches: int = 50,
    seed: int = 0,
) -> dict:
    """Count slices a second and core: images and masks, in batches of `tasks` x `slices`."""
    opened = open_shards(shards)
    organs = structures(opened)
    rng = np.random.default_rng(seed)

    def batch():
        for organ in rng.choice(organs, tasks):
            held = holders(opened, organ)
            support, *queries = rng.choice(list(held), 1 + slices // 2)
            wanted = [(support, slices - slices // 2), *((patient, 1) for patient in queries)]
            for patient, number in wanted:
                volume, where = held[patient][rng.integers(len(held[patient]))]
                chosen = rng.choice(where, number)
                load_images(opened, volume, chosen, size=size)
                load_masks(opened, volume, chosen, organ, size=size)

    batch()
    seconds = []
    for _ in range(batches):
        started = time.process_time()
        batch()
        seconds.append(time.process_time() - started)
    return {
        "slices_per_second": round(tasks * slices * batches / sum(seconds)),
        "median_batch_ms": round(1000 * statistics.median(seconds), 2),
        "size": size,
        "batch": [tasks, slices],
        "volumes": len(opened.volumes),
    }
