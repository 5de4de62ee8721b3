"""A network that begins at a rule's answer: it sees what the rule goes by, and corrects it.

    logits = trust * rule + network(slice and evidence)      trust begins at 1, the network at 0

Untrained it is the rule. The evidence comes as each slice's prompt (`jaxmeta/tasks/prompter.py`):
the rule's logit first, then what that is made of."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.models.model import Model

# The logit, by place, by intensity, and the nearest mask: to about the size of intensities.
SCALES = (0.25, 0.25, 0.5, 1.0)
CHANNELS = len(SCALES)
SUREST = 12.0  # log-odds beyond which nothing is told apart
TRUST = "trust"


def informed(model: Model, *, corrects: bool = True) -> Model:
    """Show a network of 1 + `CHANNELS` channels the evidence of every slice.

    Where it `corrects`, its outputs are added to the rule's logit; otherwise they are its own, as
    those that describe pixels are. `apply` raises ValueError for slices without evidence.
    """

    def init(key):
        return model.init(key) | ({TRUST: jnp.ones(())} if corrects else {})

    def apply(variables, image: Float[Array, "N H W C"], prompt=(), **options):
        own = {name: each for name, each in variables.items() if name != TRUST}
        known = known_evidence(image, prompt)
        scaled = known * jnp.array(SCALES)[None, None, None]
        seen = jnp.concatenate([image, scaled.astype(image.dtype)], axis=-1)
        outputs, state = model.apply(own, seen, **options)
        if corrects:
            outputs = outputs + variables[TRUST] * known[..., :1]
        return outputs, state

    return Model(init, apply)


def rule_logit(image: Float[Array, "N H W C"], prompt) -> Float[Array, "N H W 1"]:
    """Take the rule's answer from what slices are told."""
    return known_evidence(image, prompt)[..., :1]


def known_evidence(image: Float[Array, "N H W C"], prompt) -> Float[Array, "N H W 4"]:
    """Take the evidence of slices; refuse slices that have none."""
    if getattr(prompt, "shape", ()) != (*image.shape[:3], CHANNELS):
        raise ValueError("a network that begins at the rule needs its evidence for every slice")
    return jnp.clip(prompt, -SUREST, SUREST)
