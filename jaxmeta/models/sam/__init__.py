"""Segment Anything (Kirillov et al. 2023, arXiv 2304.02643) in JAX, with adapters.

Read `size.py`, `encoder.py`, `prompts.py`, `decoder.py`, then `sam.py`, which makes one value of
them.
"""

from jaxmeta.models.sam.prompts import Prompts as Prompts
from jaxmeta.models.sam.sam import Sam as Sam
from jaxmeta.models.sam.sam import sam as sam
from jaxmeta.models.sam.size import SIZES as SIZES
from jaxmeta.models.sam.size import Size as Size
