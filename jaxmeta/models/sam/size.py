"""How large a Segment Anything model is: the three published sizes, one for a laptop, and any
other."""

from typing import NamedTuple


class Size(NamedTuple):
    """The numbers that a network and the shapes of its weights follow from."""

    width: int  # channels of a token in the image encoder
    depth: int  # blocks of the image encoder
    heads: int  # of its attention
    whole: tuple[int, ...]  # which blocks attend to the whole image; the others to windows
    image: int = 1024  # pixels along a side
    patch: int = 16  # pixels along the side of a token
    window: int = 14  # tokens along the side of a window
    features: int = 256  # channels of the image embedding, of prompts and in the mask decoder
    hidden: int = 2048  # inside the perceptrons of the mask decoder
    num_heads: int = 8  # heads of every attention behind the image encoder

    @property
    def grid(self) -> int:
        """Count the tokens along a side of the image."""
        return self.image // self.patch


SIZES = {
    "vit-b": Size(768, 12, 12, (2, 5, 8, 11)),
    "vit-l": Size(1024, 24, 16, (5, 11, 17, 23)),
    "vit-h": Size(1280, 32, 16, (7, 15, 23, 31)),
    # 16 x 16 tokens: a logit a token can still draw an abdominal organ to a Dice of .96 to .98, and
    # patches of 8 pixels make every step four times as long
    "tiny": Size(192, 8, 6, (1, 3, 5, 7), 256, 16, 8, 64, 256),
}
