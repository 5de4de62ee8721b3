"""Segment structures in one's own volumes, shown to a trained run in a few labelled slices, or
pointed at.

    python -m experiments.predict --run RUN --support IMAGE:LABEL[:VALUE] ... --image IMAGE [...]
        --output DIR
    python -m experiments.predict --run RUN --box X,Y,Z,X,Y,Z --image IMAGE --output DIR

Everything is as in a test: the same reading, intensities, slicing, adaptation and way back. Each
mask is saved on its image's own grid with its header, and is there whole or not at all. The second
form is for Segment Anything: a run of sam-tiny, or a folder of converted weights.
"""

from jaxmeta.commands.command import parse_words
from jaxmeta.inference.predict import Options, predict
from jaxmeta.parallel import devices


def main() -> None:
    """Parse and predict."""
    options = parse_words(Options, __doc__)
    devices.begin(options.run.resolve().parent / ".compiled")
    predict(options)
