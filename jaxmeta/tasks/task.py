"""The two values that carry the data: labelled slices, and a few-shot task made of two sets."""

from typing import Any, NamedTuple


class Examples(NamedTuple):
    """N slices with masks of one structure; of one task, and in a batch of T of them::

        image   Float[Array, "N H W C"]  Float[Array, "T N H W C"]  normalized intensities, C = 1
        mask    Integer[Array, "N H W"]  Integer[Array, "T N H W"]  1 where the structure is, else 0
        valid   Bool[Array, "N"]         Bool[Array, "T N"]         False: it only fills the shape
        prompt  PyTree, leaves "N ..."   PyTree, leaves "T N ..."   for prompted models; () else

    A set is never ragged: what is short is filled up with slices that are not valid, and losses and
    scores leave those out.
    """

    image: Any
    mask: Any
    valid: Any
    prompt: Any = ()


class Task(NamedTuple):
    """Learn a structure from `support`, prove it on `query`; of one task, and of a batch of T::

        support   Examples                of N = shots slices      every leaf with a leading T
        query     Examples                of N = queries slices    every leaf with a leading T
        key       UInt32[Array, "2"]      UInt32[Array, "T 2"]     a raw PRNG key, the episode's own
        task_id   Int32[Array, "2"]       Int32[Array, "T 2"]      its index, its structure's number

    A learner's step takes the batch, as `tasks.loader.task_batches` gives it; losses, `adapt` and
    augmentation see one task. Support and query may have other numbers of slices, but the same H, W
    and C.
    """

    support: Examples
    query: Examples
    key: Any
    task_id: Any
