"""Implicit MAML: a meta-gradient that forgets the path (Rajeswaran et al. 2019)."""

from typing import Literal

from jaxmeta import algorithms
from jaxmeta.inner_loop.linear_solvers import conjugate_gradient, neumann
from jaxmeta.methods.maml import test_steps
from jaxmeta.methods.method import Method
from jaxmeta.methods.options import InnerLoop
from jaxmeta.methods.parts import check_network, inner_rule, network_and_loss, started
from jaxmeta.options import options

SOLVERS = {"cg": conjugate_gradient, "neumann": neumann}


@options
class Imaml(InnerLoop):
    """Implicit MAML (Rajeswaran et al. 2019)."""

    steps: int = 8
    """Inner steps in training."""
    proximal_weight: float = 0.3
    """How strongly a solution is held near where it began: lambda."""
    solver: Literal["cg", "neumann"] = "cg"
    """Conjugate gradients or a Neumann series, damped by the curvature that it meets, solve for the
    meta-gradient."""
    cg_steps: int = 3
    """Hessian-vector products that the solver may take."""


def algorithm(config, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it."""
    own = config.method
    model, loss = network_and_loss(config, testing=testing)
    walk = dict(steps=own.steps, test_steps=own.test_steps, inner=inner_rule(own)(own.rate))
    solve = SOLVERS[own.solver](own.cg_steps)
    return algorithms.imaml(
        started(model, begin), loss, **walk, strength=own.proximal_weight, solve=solve
    )


def gradients(own: Imaml) -> int:
    """Count how often a support slice is differentiated: by steps, and by each product."""
    return own.steps + own.cg_steps


IMAML = Method(
    "imaml", Imaml, algorithm, check=check_network, steps=test_steps, gradients=gradients
)
