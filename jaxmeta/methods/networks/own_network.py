"""A network of one's own, named on the command line as module:function.

The function is given the number of outputs and returns a `jaxmeta.models.Model`, two pure
functions. The reference stands in the run's config.json; the module is imported from the working
directory, or from wherever Python finds it, whenever the run is trained, tested or predicts.
"""

import importlib
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxmeta.errors import BadInput
from jaxmeta.methods.networks.network import Network
from jaxmeta.models import Model

CONTRACT = "it takes the number of outputs and returns a jaxmeta.models.Model(init, apply)"
INSTALLED = {"site-packages", "dist-packages"}  # folders of packages
OURS = (Path(__file__).parents[2],)
PYTHONS = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


def own_network(reference: str, classes: int, size: int | None = None) -> Model:
    """Make the network that `reference` names, with so many outputs, for slices of `size` pixels a
    side.

    Raises BadInput where it cannot be imported or made, and where its logits are not [N, H, W,
    classes].
    """
    told = f"`own_network={reference}`"
    function = imported(reference)
    model = attempt(told, lambda: function(classes))
    if not (isinstance(model, Model) and callable(model.init) and callable(model.apply)):
        raise BadInput(f"{told}: returned {type(model).__name__}; {CONTRACT}")
    if size is not None:
        refuse_shapes(told, model, (2, size, size, 1), classes)
    return model


def imported(reference: str) -> Callable:
    """Import a function by module:function, the working directory first."""
    told = f"`own_network={reference}`"
    name, colon, function = reference.partition(":")
    if not (name and colon and function.isidentifier()):
        raise BadInput(f"{told}: write module:function, for instance my_package.nets:tiny")
    here = str(Path.cwd())
    if not {here, ""} & set(sys.path):  # as `python -m` has it, whoever started us
        sys.path.insert(0, here)
    module = attempt(told, lambda: importlib.import_module(name))
    if not callable(found := getattr(module, function, None)):
        raise BadInput(f"{told}: {module.__file__} has no function {function}")
    return found


def attempt(told: str, call: Callable):
    """Call what a user wrote; raise BadInput with its error, and where in their file it was."""
    try:
        return call()
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if theirs(f.filename)]
        where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        said = str(error).replace("`", "'")  # backticks name our parameters
        raise BadInput(f"{told}: {type(error).__name__}: {said}{where}") from error


def theirs(file: str) -> bool:
    """Tell a user's own source from ours, Python's and installed packages'."""
    path = Path(file).resolve()
    if path.suffix != ".py" or INSTALLED & set(path.parts):
        return False
    return not any(path.is_relative_to(root.resolve()) for root in OURS + PYTHONS)


def refuse_shapes(told: str, model: Model, shape: tuple[int, ...], classes: int) -> None:
    """Refuse a network whose answer to such an image is not one logit a pixel and output.

    Nothing is computed: shapes are followed through both functions.
    """
    image = jax.ShapeDtypeStruct(shape, jnp.float32)

    def asked():
        variables = jax.eval_shape(model.init, jax.random.key(0))
        return jax.eval_shape(
            lambda variables, image, key: model.apply(variables, image, (), key=key, train=True),
            *(variables, image, jax.random.key(0)),
        )

    answer = attempt(told, asked)
    wanted = (*shape[:-1], classes)
    if not (isinstance(answer, tuple) and len(answer) == 2):
        raise BadInput(
            f"{told}: apply must return (logits, state), the state () where there is none"
        )
    logits = getattr(answer[0], "shape", None)
    if logits != wanted:
        raise BadInput(
            f"{told}: of an image of shape {shape} its logits are of shape {logits}, and should be "
            f"{wanted}"
        )


def model(config: Any, outputs: int, *, features: bool = False) -> Model:
    """Make the network that a configuration names; its own file says where its outputs begin."""
    return own_network(config.own_network, outputs, config.tasks.size or None)


def check(config: Any) -> None:
    """Refuse what is no network, or has other shapes."""
    model(config, 1)


OWN_NETWORK = Network("own-network", type(None), model, check=check)  # in no list of names
