"""Segment volumes by a few labelled slices: a run is adapted once, then every image is segmented.

Everything is as in a test: the same reading, intensities, slicing, adaptation and way back.
"""

import dataclasses
from collections.abc import Iterator

from jaxmeta.data.grid import restore
from jaxmeta.data.postprocess import predicted_labels
from jaxmeta.evaluation.fitting import segmenter_maker
from jaxmeta.evaluation.protocol import Conditions
from jaxmeta.evaluation.scoring import support_set_keys, whole_volume
from jaxmeta.evaluation.segmenter import together
from jaxmeta.evaluation.settings import describe_tuning, method_setting
from jaxmeta.inference.found import FoundVolume
from jaxmeta.inference.notes import known_scans, teller
from jaxmeta.inference.options import Options, told_reading
from jaxmeta.inference.scan import (
    check_rescale,
    read_scan,
    reading_for,
    seen,
    tell_channel,
)
from jaxmeta.inference.support import drawn_supports, padded, parsed, read_support
from jaxmeta.methods import method_of
from jaxmeta.progress import following, say, slow_start
from jaxmeta.runs.released import refuse_predicting
from jaxmeta.runs.run import Run, open_run


def segmented(options: Options) -> Iterator[FoundVolume]:
    """Adapt to the support, then give what is found in each image, one after the other."""
    run = open_run(options.run)
    refuse_predicting(options.run, run.config)
    run = prompted_by_masks(run)
    pairs = [parsed(text) for text in options.support]
    reading = reading_for(run, **told_reading(options))
    known = known_scans(run.provenance)
    alone = {image for image, _, _ in pairs}.difference(options.image)  # no mask is made of these
    how = dict(modality=told_reading(options).get("modality"), known=known, supports=alone)
    tell = teller(options.run, run.config, reading, **how)
    reading = reading._replace(tell=tell)
    scans = [*(image for image, _, _ in pairs), *options.image]
    check_rescale(scans, reading)
    tell_channel(scans, reading, told_reading(options).get("channel"))
    few = method_of(run.config.method).testing.few
    how = dict(support_sets=options.support_sets, seed=options.seed, few=few)
    each = options.structures or (None,)
    supports = [
        drawn
        for value in each
        for drawn in drawn_supports(
            read_support(pairs, reading, value, tell=value == each[0]), options.shots or None, **how
        )
    ]
    shots = max(len(support.place) for support in supports)
    setting = method_setting(run, shots, Conditions(largest_component=options.largest_component))
    row = segmenter_maker(run, len(supports))("adapted", "adapted", setting.finetune)
    say(f"adapting to {shots} slice(s) of {len(pairs)} volume(s): {describe_tuning(setting)}")
    values = options.structures or (1,)
    with following("predict", "volume", len(options.image), first=slow_start()) as further:
        fitted = row.fit(together(padded(supports)), support_set_keys(len(supports), options.seed))
        for image in options.image:
            scan = read_scan(image, reading)
            slices, grid = seen(scan, reading), scan.geometry
            found = whole_volume(row, fitted, slices)
            found = found.reshape(-1, options.support_sets, *found.shape[1:]).mean(1)
            how = dict(spacing=reading.mm, largest_component=options.largest_component)
            labels, whole = predicted_labels(found, values, grid, **how)
            native = restore(slices[..., 0], grid, spacing=reading.mm)
            highest = tuple(float(each.max()) for each in whole)
            yield FoundVolume(image, grid, native, values, labels, highest, whole)
            further(more=1, note=image.name)


def prompted_by_masks(run: Run) -> Run:
    """Let points come from the support's mask, where clicks on the truth are what a run was trained
    with."""
    own, testing = run.config.method, method_of(run.config.method).testing
    if not testing.clicks(own):
        return run
    say("points on new slices come from the support's mask: clicks would lie on the truth")
    own = testing.prompted(own, "support")
    return run._replace(config=dataclasses.replace(run.config, method=own))
