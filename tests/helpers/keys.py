"""A record of every random key that a program uses up, and of where."""

import contextlib
import sys
from collections import defaultdict
from pathlib import Path
from unittest import mock

import jax
import numpy as np

USING = ("split", "fold_in", "uniform", "normal", "bernoulli", "bits", "randint", "permutation")
USING += ("truncated_normal", "categorical", "choice", "gumbel")
ROOT = Path(__file__).resolve().parents[2]
OWN = (str(ROOT / "jaxmeta"), str(ROOT / "tests"))


def place() -> str:
    """Name the innermost line of the library, or of a test, that is being traced."""
    frame = sys._getframe(2)
    while frame and not (
        frame.f_code.co_filename.startswith(OWN) and frame.f_code.co_filename != __file__
    ):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else "elsewhere"


@contextlib.contextmanager
def used_keys():
    """Yield key -> the set of (what was made of it, where), filled while the programs traced inside
    run.

    A computation that is done again, as rematerialization does, uses its key at the same place.
    What is called inside of another function of `jax.random` is a part of it. A fold is of a key
    and a number: folds of one key, each with a number of its own, make keys that differ, and the
    place of each is noted under the pair.
    """
    seen, inside = defaultdict(set), []

    def wrapped(name, function):
        def recorded(key, *more, **options):
            if inside:
                return function(key, *more, **options)
            where = place()

            def note(keys, number=None):
                for each in np.asarray(keys).reshape(-1, 2):
                    key = tuple(map(int, each))
                    if number is None:
                        seen[key].add((name, where))
                    else:
                        seen[key].add((name, "of every number"))
                        seen[(*key, int(number))].add((name, where))

            data = more[0] if name == "fold_in" else None
            jax.debug.callback(note, jax.random.key_data(key), data)
            inside.append(name)
            try:
                return function(key, *more, **options)
            finally:
                inside.pop()

        return recorded

    with contextlib.ExitStack() as stack:
        for name in USING:
            patched = wrapped(name, getattr(jax.random, name))
            stack.enter_context(mock.patch.object(jax.random, name, patched))
        yield seen
        jax.effects_barrier()


def used_twice(seen) -> dict:
    """Keep the keys that were used up at more than one place, or in more than one way."""
    return {key: places for key, places in seen.items() if len(places) > 1}
