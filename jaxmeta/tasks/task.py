"""The two values that carry the data: a set of labelled slices, and a few-shot task made of two sets."""

from typing import Any, NamedTuple


class Examples(NamedTuple):
    """Slices with masks of one structure; a batch of tasks has one more leading axis T on every leaf."""

    image: Any  # Float[Array, "N H W C"], normalised intensities
    mask: Any  # Integer[Array, "N H W"], 1 where the structure is
    valid: Any  # Bool[Array, " N"], False for a slice that only fills the shape
    given: Any = ()  # what a prompted model may see besides: pytrees with leading axis N


class Task(NamedTuple):
    """Learn a structure from `support`, prove it on `query`."""

    support: Examples
    query: Examples
    key: Any  # UInt32[Array, "2"], a raw PRNG key made on the host with the episode
    ident: Any  # Int32[Array, "2"]: the episode's index and the structure's number in the pool
