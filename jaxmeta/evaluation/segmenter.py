"""What answers in a test: anything that can be fitted to support slices and then segments slices.

All T support sets of an organ are fitted in one call and spread over devices like tasks in
training; every query volume passes once through all T fitted networks. Volumes are cut into chunks
of one size, so each function compiles once however long a volume is. The learner's state is an
argument of what is compiled, never a constant in it.

`scoring.py` asks a segmenter of whole volumes; what is asked stands in `trial.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PyTree

from jaxmeta.evaluation.trial import Support, atlases, places_for
from jaxmeta.numerics import typed_key
from jaxmeta.parallel.devices import jit, replicate, task_mesh
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.prompter import Prompter, filled

ONWARD = np.uint32(0x9E3779B9)  # makes another key of a raw one


class Segmenter(NamedTuple):
    """One line of the table: fit(supports, keys) -> fitted; segment(fitted, image, place) -> p.

    `fit` gets T supports as one `Support` of stacked arrays and T raw keys [T, 2]; `segment` gives
    probabilities [T, N, H, W] of a chunk of slices, or of all slices of a volume where it must see
    the `whole`. Who only wants to be told something of each slice that takes the whole volume to
    know has `tell(fitted, image, place)` -> prompt [T, N, ...], of which `segment` is given its
    chunk's. Of T chunks of slices [T, N, H, W, C], one for each support, `segment_each` gives
    probabilities; `prompt` may tell each slice something besides.
    """

    name: str
    fit: Callable[[Support, np.ndarray], Any]
    segment: Callable[..., Any]  # (fitted, image, place, prompt=())
    segment_each: Callable[..., Any] | None = None  # where nobody asks within volumes
    whole: bool = False  # sees all slices of a volume together
    tell: Callable[[Any, np.ndarray, np.ndarray], Any] | None = None
    by_height: bool = False  # goes by where a slice lies in its volume, which a slice alone lacks


class Fitted(NamedTuple):
    """What networks have made of T supports."""

    phi: PyTree
    supports: Support | None


def networks(
    predictor: Callable,
    *,
    support_sets: int,
    chunk: int = 1,
    prompter: Prompter | None = None,
) -> Callable[..., Segmenter]:
    """Make (name, state, begin=None) -> Segmenter of a `predictor`; `support_sets` is T, those of
    one call.

    Those that differ in their state alone (other weights, another rate) share what is compiled.
    With `begin`, another one, each support comes to `adapt` as (support, what `begin` makes of
    it). A device does `chunk` supports side by side. A `prompter` gives each slice its prompt, on
    the host: in the support, and of the volumes and chunks that are asked about.
    """
    mesh = task_mesh(support_sets)
    numbers = np.arange(support_sets, dtype=np.int32)  # counts T where nothing is adapted

    @jit
    def adapt(state, given, keys):
        def one(state, task):
            support, key = task
            return (), predictor(state).adapt(support, typed_key(key))

        return over_tasks(one, mesh=mesh, chunk=chunk)(state, (given, keys))[1]

    @jit
    def probability(shared, phis):
        def one(shared, task):
            (state, image), (_, phi, prompt) = shared, task
            return (), jax.nn.sigmoid(predictor(state).predict(phi, image, prompt)[..., 0])

        return over_tasks(one, mesh=mesh, chunk=chunk)(shared, phis)[1]

    @jit
    def probability_each(state, asked):
        def one(state, task):
            phi, image, prompt = task
            return (), jax.nn.sigmoid(predictor(state).predict(phi, image, prompt)[..., 0])

        return over_tasks(one, mesh=mesh, chunk=chunk)(state, asked)[1]

    def make(name: str, state: PyTree, begin: Segmenter | None = None) -> Segmenter:
        state = replicate(state, mesh)

        def fit(support, keys):
            given = support.examples if support else None  # of learners that need none
            if given and prompter:
                given = given._replace(prompt=support_prompts(prompter, support))
            if begin:  # whose own keys are used up by it
                given, keys = (given, begin.fit(support, keys).phi), keys ^ ONWARD
            return Fitted(adapt(state, given, keys), support)

        def tell(fitted, image, place):
            known = atlases(fitted.supports)
            return np.stack(
                [prompter.query(each, image[..., 0], places_for(each, place)) for each in known]
            )

        def segment(fitted, image, place, prompt=()):
            return probability((state, image), (numbers, fitted.phi, prompt))

        def segment_each(fitted, image, prompt=()):
            if prompter:
                prompt = prompts_each(prompter, fitted.supports, image)
            return probability_each(state, (fitted.phi, image, prompt))

        return Segmenter(name, fit, segment, segment_each, tell=tell if prompter else None)

    return make


def support_prompts(prompter: Prompter, supports: Support) -> np.ndarray:
    """Prompt the slices of T supports; those that only fill the shape get nothing."""
    valid = supports.examples.valid
    return np.stack(
        [
            filled(prompter.support(each), own, prompter.nothing)
            for each, own in zip(atlases(supports), valid, strict=True)
        ]
    )


def prompts_each(
    prompter: Prompter, supports: Support, image: Float[np.ndarray, "T N H W 1"]
) -> np.ndarray:
    """Prompt T chunks of neighbors of T supports: all lie at their support's height."""
    return np.stack(
        [
            prompter.query(known, own[..., 0], np.full(len(own), known.height.mean()))
            for known, own in zip(atlases(supports), image, strict=True)
        ]
    )


def together(supports: Sequence[Support]) -> Support:
    """Stack the arrays of T supports of the same size; the names stay a tuple of tuples."""
    return Support(
        jax.tree.map(lambda *a: np.stack(a), *[s.examples for s in supports]),
        np.stack([s.place for s in supports]),
        tuple(s.patients for s in supports),
        tuple(s.slices for s in supports),
    )
