"""One file a network: its options, how its model is made of them, and what others ask about it.

A new network is its file and a name in `ALL`; its layers stand in `jaxmeta/models/`.
"""

from typing import Any

from jaxmeta.methods.networks.instance_unet import INSTANCE_UNET
from jaxmeta.methods.networks.low_rank_sam import LOW_RANK_SAM
from jaxmeta.methods.networks.network import Network
from jaxmeta.methods.networks.own_network import OWN_NETWORK
from jaxmeta.methods.networks.segment_anything import SAM, SAM_TINY
from jaxmeta.methods.networks.unet import UNET
from jaxmeta.methods.networks.unet_plus_plus import UNET_PLUS_PLUS

ALL = (UNET, INSTANCE_UNET, UNET_PLUS_PLUS, LOW_RANK_SAM, SAM_TINY, SAM)
BY_OPTIONS = {each.options: each for each in ALL}


def network_of(config: Any) -> Network:
    """Find the network of a configuration: one's own, or the one that its options are of."""
    return OWN_NETWORK if config.own_network else BY_OPTIONS[type(config.network)]
