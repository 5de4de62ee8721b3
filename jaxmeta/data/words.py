"""The words by which names of files and folders say "image" or "label", and what is left of a
name."""

import re
from typing import NamedTuple

LABEL = frozenset(
    "label labels labelstr labelmap lbl lab seg segs dseg segmentation segmentations mask masks "
    "msk gt gts truth groundtruth ground annotation annotations annot roi rois contour contours "
    "manual".split()
)
IMAGE = frozenset(
    "image images imagestr img imgs im imaging scan scans volume volumes vol vols raw "
    "ct cbct mr mri".split()
)
SEQUENCE = frozenset(
    "t1 t1w t1n t1c t1ce t1gd t2 t2w t2f t2star flair pd pdw dwi adc swi dce lge cine bold asl "
    "dixon inphase outphase cta pet".split()
)
RUN = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]+")


class Template(NamedTuple):
    """A name taken to pieces: `image_21` is `image_{id}` with the identifier 21."""

    text: str  # with {id} where the identifier is, if there is one
    id: str  # "" where the whole name is words
    label: bool  # whether a word says that it is a label
    image: bool


def says_label(name: str) -> bool:
    """Tell whether any word of a name says that it is a label."""
    return any(run.lower() in LABEL for run in RUN.findall(name))


def is_sequence(name: str) -> bool:
    """Tell whether a whole name is that of a contrast: of an image, and of no structure."""
    return "".join(filter(str.isalnum, name)).lower() in SEQUENCE


def template(name: str) -> Template:
    """Take the words of image and label off both ends of a name; what they leave is the
    identifier."""
    runs = RUN.findall(name)

    def is_word(run):
        return run.lower() in LABEL | IMAGE

    def is_rest(run):  # a separator beside a word goes with it
        return not run[0].isalnum()

    start = end = 0
    for number, run in enumerate(runs, 1):
        if not (is_word(run) or is_rest(run)):
            break
        start = number
    for number, run in enumerate(reversed(runs[start:]), 1):
        if not (is_word(run) or is_rest(run)):
            break
        end = number
    head, tail = runs[:start], runs[len(runs) - end :] if end else []
    head = head if any(map(is_word, head)) else []
    tail = tail if any(map(is_word, tail)) else []
    words = {run.lower() for run in head + tail}
    middle = "".join(runs[len(head) : len(runs) - len(tail)])
    text = f"{''.join(head)}{'{id}' if middle else ''}{''.join(tail)}"
    return Template(text, middle, bool(words & LABEL), bool(words & IMAGE))
