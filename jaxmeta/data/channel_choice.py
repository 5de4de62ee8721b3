"""The user's `channel`, applied to the pairs that a layout found.

The channels of a patient are one file of several (Medical Decathlon), or a file each: nnU-Net's
case_0000 and case_0001, the T1w and T2w of BIDS. Of what is chosen each channel becomes a volume of
its own, of the same patient.
"""

from jaxmeta.data.channels import channel_count, channel_number, choices, names_of
from jaxmeta.data.formats.image import shape_of
from jaxmeta.data.layouts.found import Found, Pair
from jaxmeta.data.names import slug
from jaxmeta.data.rules import Rule, fits
from jaxmeta.errors import BadInput


def chosen_channels(found: Found, rules: list[Rule], used: set) -> list[Pair]:
    """Make a pair of each channel that the user chose; put the rules that applied into `used`."""
    return [one for pair in found.pairs for one in _channels(found.dataset, pair, rules, used)]


def _channels(dataset, pair, rules, used):
    matching = [rule for rule in rules if fits(rule, dataset, pair.case, pair.image)]
    wanted = matching or [rule for rule in rules if rule.pattern is None]
    if pair.channel is not None:
        return _file(pair, wanted, used)
    count = channel_count(shape_of(pair.image)) if wanted else 1
    if count == 1 and not matching:  # a bare word is for those that hold several
        return [pair]
    used.update(wanted)
    numbers = _numbers(pair, wanted, count)
    return [_one(pair, number, count) for number in numbers] if count > 1 else [pair]


def _file(pair, wanted, used):
    """Keep a pair, or not, whose image is a file of one channel."""
    used.update(wanted)
    if pair.choose and not wanted:
        told = choices(len(pair.channels), pair.channels)
        raise BadInput(f"{pair.label}: may be of {pair.image} or of another; choose with {told}")
    if wanted and pair.channel not in _numbers(pair, wanted, len(pair.channels)):
        return []
    inside = channel_count(shape_of(pair.image))
    if inside > 1:
        raise BadInput(
            f"{pair.image}: holds {inside} channels, but in this data set each is a file of its "
            "own; split it"
        )
    return [pair._replace(channel=None, channels=())]


def _numbers(pair, wanted, count):
    return sorted({channel_number(rule.word, count, pair.channels, pair.image) for rule in wanted})


def _one(pair, number, count):
    """Name a channel's volume by its channel; of several names the channel's tells the modality."""
    names = names_of(count, pair.channels)
    declared = pair.modality if len(pair.channels) < 2 else None
    return pair._replace(
        case=f"{pair.case}_{slug(names[number]) if names else number}",
        modality=names[number] if names else declared,
        channel=number,
        channels=names,
    )
