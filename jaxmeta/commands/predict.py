"""Segment structures in one's own volumes, shown in a few labelled slices, or pointed at.

    python -m experiments.predict --support IMAGE:LABEL[:VALUE] ... --image IMAGE [...] --output DIR
    python -m experiments.predict --run RUN --support ... --image IMAGE [...] --output DIR
    python -m experiments.predict --run RUN --image IMAGE [...] --output DIR
    python -m experiments.predict --run RUN --box X,Y,Z,X,Y,Z --image IMAGE --output DIR

The first form needs no training: the labelled slices say where the structure lies and how it looks.
The second adapts a trained run to them, and everything is as in a test: the same reading,
intensities, slicing, adaptation and way back. The third is for a run that has learned its organ
from labelled patients, as supervised and mlb-seg do. The last is for Segment Anything: a run of
sam-tiny, or a folder of converted weights. Each mask is saved on its image's own grid with its
header, and is there whole or not at all.
"""

from jaxmeta.commands.command import parse_words
from jaxmeta.inference.options import Options
from jaxmeta.inference.predict import predict


def main() -> None:
    """Parse and predict."""
    options = parse_words(Options, __doc__)
    if options.run != "none":
        from jaxmeta.parallel import devices  # a mask without training waits for no compiler

        devices.begin(options.run.resolve().parent / ".compiled")
    predict(options)
