"""Self-Sampling Meta SAM (Zhang, Leng, Han, Xie, WACV 2024, arXiv 2308.16466): its network.

Read `points.py`, `sampler.py`, `mask_attention.py`, `decoder.py`, then `network.py`, which puts
them on a frozen image encoder of Segment Anything.
"""

from jaxmeta.models.ssm_sam.network import SsmSam as SsmSam
from jaxmeta.models.ssm_sam.network import self_sampling as self_sampling
