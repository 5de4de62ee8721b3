"""Convert a checkpoint of Segment Anything, or of a model with the same parts, to weights for this
library.

    python -m experiments.convert_sam sam_vit_b_01ec64.pth --output sam-vit-b

Every tensor of the file must have its place and every place its tensor; else the report says what
is missing, unexpected or of another shape, and nothing is written.
"""

from math import prod
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxmeta.commands.command import parse_words
from jaxmeta.errors import BadInput, Occupied
from jaxmeta.models.sam.files import SIZE, open_checkpoint, write_weights
from jaxmeta.models.sam.size import SIZES
from jaxmeta.models.sam.weights import Fit, fit_size, leaves, recognized, size_name
from jaxmeta.options import options

NAMES_SHOWN = 8  # names of each kind in the report


@options
class Arguments:
    """Convert a checkpoint of Segment Anything."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A .pth file as published, for which PyTorch is needed (the extra `convert`), or a
    .safetensors file; others with the same parts too, MedSAM's ViT-B with --preprocessing medsam.
    """
    output: Path
    """The folder that the converted weights go to."""
    size: Literal["any", "vit-b", "vit-l", "vit-h"] = "any"
    """Refuse a checkpoint of another size; any: each is recognized."""
    preprocessing: Literal["sam", "medsam"] = "sam"
    """How the weights were shown images when they learned, which no file says. sam: as published,
    in proportion and normalized by ImageNet's colors; medsam: stretched to the square, from 0 to
    1."""
    names: bool = False
    """Report every tensor by its name; by default the first 8 of those that do not match."""


def main() -> None:
    """Parse and convert."""
    convert(parse_words(Arguments, __doc__))


def convert(args: Arguments) -> None:
    """Read, compare, report, and write what fits."""
    if (args.output / SIZE).exists():
        raise Occupied(
            f"{args.output} holds converted weights: remove it, or give another --output"
        )
    with open_checkpoint(args.checkpoint) as checkpoint:
        try:
            size = recognized(checkpoint.shapes)
        except BadInput as error:
            raise BadInput(f"{args.checkpoint}: {error}") from None
        print(f"{args.checkpoint}: {size_name(size)}")
        if args.size != "any" and size != SIZES[args.size]:
            raise BadInput(
                f"{args.checkpoint} is {size_name(size)}, not {size_name(SIZES[args.size])}"
            )
        found = fit_size(checkpoint.shapes, size)
        print(report(found, every=args.names))
        if not found.whole:
            raise BadInput(
                f"{args.checkpoint} does not fit {size_name(size)}: {len(found.missing)} tensors "
                f"missing, {len(found.unexpected)} unexpected, {len(found.misshapen)} of another "
                "shape; nothing written"
            )
        try:
            write_weights(
                args.output, size, leaves(checkpoint.read, size), preprocessing=args.preprocessing
            )
        except BadInput as error:
            raise BadInput(f"{args.checkpoint}: {error}; nothing written") from None
        numbers = sum(prod(checkpoint.shapes[name]) for name in found.matched)
    print(f"{numbers:,} numbers in {args.output}")


def report(found: Fit, *, every: bool = False) -> str:
    """Say how many tensors match, and name those that do not, or `every` one."""
    lines = [f"{len(found.matched)} tensors match"]
    if every:
        kinds = (("match", found.matched), *zip(found._fields[1:], found[1:], strict=True))
        named = [f"  {what:<10} {name}" for what, names in kinds for name in names]
        counts = [f"{len(names)} {what}" for what, names in kinds[1:]]
        return "\n".join(lines + counts + named)
    for what in ("missing", "unexpected", "misshapen"):
        names = getattr(found, what)
        more = f", and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        lines.append(
            f"{len(names)} {what}" + (": " if names else "") + ", ".join(names[:NAMES_SHOWN]) + more
        )
    return "\n".join(lines)
