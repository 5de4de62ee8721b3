"""Pairs of pure functions that segment images; they know no tasks."""

from jaxmeta.models.instance_unet import instance_unet as instance_unet
from jaxmeta.models.model import Model as Model
from jaxmeta.models.model import begin_with as begin_with
from jaxmeta.models.unet import unet as unet
from jaxmeta.models.unet_plus_plus import unet_plus_plus as unet_plus_plus
