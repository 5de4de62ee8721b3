"""The upper bound of a test: the same network, trained on all labels of everybody not tested by it.

It is asked by the protocol `supervised`, fold by fold; of a run that is tested on slices, by all
slices that may be support.
"""

import numpy as np
import optax

from jaxmeta.augmentation.augment import upright, varied
from jaxmeta.evaluation.baselines import BOUND, FULL
from jaxmeta.evaluation.finetune import Finetune, pass_by_pass, supervised
from jaxmeta.evaluation.fitting import UNIT_RULES, fresh, predictor_with_steps
from jaxmeta.evaluation.protocol import Protocol
from jaxmeta.evaluation.protocols import shared_patients
from jaxmeta.evaluation.protocols.supervised import IN_FOLDS
from jaxmeta.evaluation.segmenter import Segmenter, networks
from jaxmeta.methods import method_of
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.parts import network_and_loss
from jaxmeta.runs.run import Run

SUPERVISED = Finetune("adam", 3e-3, 800)
SLICE_EPOCHS, SLICE_RATE, SLICE_DECAY = 20, 1e-3, 3e-5  # MetaMedSeg's, with all slices


def asked_of_bounds(protocol: Protocol) -> Protocol:
    """Choose the protocol by which the upper bound of a test by `protocol` is asked."""
    by_slices = protocol.name == shared_patients.PROTOCOL.name
    return shared_patients.EVERY_SLICE if by_slices else IN_FOLDS


def upper_bounds(
    run: Run, folds: int, setting: Finetune = SUPERVISED, batch: int = 16
) -> tuple[Segmenter, ...]:
    """Make the segmenters of the same network trained on all labels but those it is tested on.

    The first begins at random weights, the second, of methods that fine-tune, where the run ended.
    Both see images augmented as in the run's training, but for flips and inversion, which would
    make another anatomy of them. MetaMedSeg's go slice by slice, as its paper's code does.
    """
    config, method = run.config, method_of(run.config.method)
    model, loss = network_and_loss(config)
    loss = varied(loss, upright(config.augment))
    if method.slice_by_slice:
        update = optax.chain(optax.add_decayed_weights(SLICE_DECAY), UNIT_RULES["adam"])
        trained, rate = pass_by_pass(model, loss, update, SLICE_EPOCHS), SLICE_RATE
    else:
        update, rate = UNIT_RULES[setting.optimizer], setting.rate
        trained = supervised(model, loss, update, setting.steps, batch)
    how = dict(support_sets=folds, prompter=network_of(config).prompter(config))
    begun = {BOUND: networks(fresh(model), **how)("start", ())}
    if method.adapts:
        begun[FULL] = networks(predictor_with_steps(run, 0), **how)("start", run.state)
    compiled = networks(trained, **how)
    return tuple(compiled(name, np.float32(rate), begin) for name, begin in begun.items())
