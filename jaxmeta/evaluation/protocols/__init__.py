"""The protocols that a test can ask by, one a file: a new one is a file and a word of this list."""

from typing import Literal

from jaxmeta.evaluation.protocols import (
    alpnet,
    few_shot,
    released,
    shared_patients,
    supervised,
    within_volume,
)

ALL = (few_shot, within_volume, alpnet, shared_patients, supervised)
PROTOCOLS = {each.PROTOCOL.name: each.PROTOCOL for each in ALL}
Name = Literal[tuple(PROTOCOLS)]  # what an option may be
# What ends the name of a row that is scored in another way besides, and what way that is.
SUFFIXES = {alpnet.KNOWN: alpnet.ORACLE, released.RELEASED: released.COUNTED}
