"""Segment volumes by a few labelled slices: a run is adapted once, then every image is segmented.

Everything is as in a test: the same reading, intensities, slicing, adaptation and way back.
"""

import dataclasses
from collections.abc import Iterator

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.fitting import segmenter_maker
from jaxmeta.evaluation.protocol import Conditions
from jaxmeta.evaluation.scoring import support_set_keys, whole_volume
from jaxmeta.evaluation.segmenter import together
from jaxmeta.evaluation.settings import describe_tuning, method_setting
from jaxmeta.inference.found import FoundVolume
from jaxmeta.inference.options import Options, told_reading
from jaxmeta.inference.run_reading import known_scans, reading_for, teller
from jaxmeta.inference.support import padded, parsed
from jaxmeta.inference.volumes import segmented_volumes, supports_of
from jaxmeta.methods import method_of
from jaxmeta.progress import say, slow_start
from jaxmeta.runs.released import refuse_predicting
from jaxmeta.runs.run import Run, open_run


def segmented(options: Options) -> Iterator[FoundVolume]:
    """Adapt to the support, then give what is found in each image, one after the other."""
    run = open_run(options.run)
    refuse_predicting(options.run, run.config)
    if method_of(run.config.method).by_labels:
        raise BadInput(
            f"{options.run} has learned {run.config.organ} from labelled patients: leave `support` "
            "out"
        )
    run = prompted_by_masks(run)
    pairs = [parsed(text) for text in options.support]
    reading = reading_for(run, **told_reading(options))
    known = known_scans(run.provenance)
    alone = {image for image, _, _ in pairs}.difference(options.image)  # no mask is made of these
    how = dict(modality=told_reading(options).get("modality"), known=known, supports=alone)
    reading = reading._replace(tell=teller(options.run, run.config, reading, **how))
    few = method_of(run.config.method).testing.few
    supports = supports_of(options, pairs, reading, few)
    shots = max(len(support.place) for support in supports)
    setting = method_setting(run, shots, Conditions(largest_component=options.largest_component))
    row = segmenter_maker(run, len(supports))("adapted", "adapted", setting.finetune)
    say(f"adapting to {shots} slice(s) of {len(pairs)} volume(s): {describe_tuning(setting)}")

    def begin():
        keys = support_set_keys(len(supports), options.seed)
        fitted = row.fit(together(padded(supports)), keys)
        return lambda slices: whole_volume(row, fitted, slices)

    yield from segmented_volumes(options, reading, begin, slow_start())


def prompted_by_masks(run: Run) -> Run:
    """Let points come from the support's mask, where clicks on the truth are what a run was trained
    with."""
    own, testing = run.config.method, method_of(run.config.method).testing
    if not testing.clicks(own):
        return run
    say("points on new slices come from the support's mask: clicks would lie on the truth")
    own = testing.prompted(own, "support")
    return run._replace(config=dataclasses.replace(run.config, method=own))
