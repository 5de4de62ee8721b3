"""Segment volumes by a run that has learned its one organ from labelled patients: it is asked as it
is."""

from collections.abc import Iterator

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.fitting import segmenter_maker
from jaxmeta.evaluation.scoring import support_set_keys, whole_volume
from jaxmeta.inference.found import FoundVolume
from jaxmeta.inference.options import Options, told_reading
from jaxmeta.inference.run_reading import known_scans, reading_for, teller
from jaxmeta.inference.scan import check_rescale, tell_channel
from jaxmeta.inference.volumes import segmented_volumes
from jaxmeta.methods import method_of
from jaxmeta.progress import say, slow_start
from jaxmeta.runs.released import refuse_predicting
from jaxmeta.runs.run import open_run


def segmented(options: Options) -> Iterator[FoundVolume]:
    """Give what the run finds in each image, one after the other."""
    run = open_run(options.run)
    refuse_predicting(options.run, run.config)
    if not method_of(run.config.method).by_labels:
        raise BadInput(
            f"{options.run} is of {run.config.algorithm}, which has learned no organ yet: give it "
            "labelled slices by `support`, or what else it asks for"
        )
    told = told_reading(options)
    reading = reading_for(run, **told)
    known = known_scans(run.provenance)
    tell = teller(options.run, run.config, reading, modality=told.get("modality"), known=known)
    reading = reading._replace(tell=tell)
    check_rescale(options.image, reading)
    tell_channel(options.image, reading, told.get("channel"))
    row = segmenter_maker(run, 1)("adapted", "adapted", None)
    say(f"{run.config.organ}, as {options.run} has learned it (step {run.step})")

    def begin():
        fitted = row.fit(None, support_set_keys(1, options.seed))
        return lambda slices: whole_volume(row, fitted, slices)

    yield from segmented_volumes(options, reading, begin, slow_start())
