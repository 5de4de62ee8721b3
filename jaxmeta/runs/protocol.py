"""The protocol of the literature that a run is trained by, if it names one."""

from jaxmeta.data.shards.shards import Shards, structures
from jaxmeta.errors import BadInput
from jaxmeta.runs.config import Config
from jaxmeta.splits import alpnet
from jaxmeta.splits.alpnet import AlpnetFold
from jaxmeta.splits.split import recognize


def trained_by(config: Config, shards: Shards) -> AlpnetFold | None:
    """Make the protocol that a configuration names, if it names one.

    What is not tested is trained on, unless the training organs are named.
    """
    if config.protocol == "few-shot":
        return None
    known = structures(shards)
    tested = recognize(config.test_organs, known)
    others = [organ for organ in known if organ not in tested]
    trained = recognize(config.train_organs, known) if config.train_organs else others
    made = alpnet.fold_of(
        config.protocol,
        shards,
        tested=tested,
        trained=trained,
        fold=config.fold,
        setting=config.setting,
    )
    return made._replace(leaks=config.allow_leak)


def refuse_empty(protocol: AlpnetFold, shards: Shards) -> None:
    """Refuse a protocol that leaves nothing to train on."""
    counts = alpnet.left_over(protocol, shards)
    if not any(left for _, left, _ in counts.values()):
        raise BadInput(
            f"setting {protocol.setting} leaves no slice of {', '.join(counts)} to train on: every "
            "one also shows a tested organ"
        )


def stated(protocol: AlpnetFold, shards: Shards) -> str:
    """Say what a protocol is and what it leaves to train on."""
    return alpnet.describe_alpnet(protocol, alpnet.left_over(protocol, shards))
