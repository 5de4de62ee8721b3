"""Learn, from organs that have labels, how to segment an organ that has almost none.

    python -m experiments.meta_train                  phantoms, five minutes, ends with a table
    python -m experiments.meta_train PRESET --data SHARDS --test-organs NAME --workdir RUN

The same command again resumes a run that was stopped. `--config-file FILE` starts from a run's
config.json, or from a file with some of its fields, and what else is on the command line overrules
it.
"""

import dataclasses
import shlex
import sys
from pathlib import Path

import jax
import tyro

from jaxmeta.commands import test
from jaxmeta.commands.command import called, described, program, refuse_repeated, spelled
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.errors import BadInput, Stopped
from jaxmeta.evaluation.best_on_test import asked_of_test
from jaxmeta.evaluation.stages import begun
from jaxmeta.methods import method_of
from jaxmeta.options import path_or_none
from jaxmeta.parallel import devices
from jaxmeta.phantoms.write import PHANTOM_SPLIT, write_phantoms
from jaxmeta.runs.checks import check
from jaxmeta.runs.config import Config
from jaxmeta.runs.config_file import read_config
from jaxmeta.runs.presets import DEFAULT_PRESET, PRESETS
from jaxmeta.runs.train import meta_train


def main() -> None:
    """Parse, train, and for the phantoms test."""
    name, config = parse(sys.argv[1:])
    check(config)  # before phantoms are written for nothing
    phantoms = not config.data
    config = resolve(name, config)
    devices.begin(config.workdir.parent / ".compiled", distributed=config.distributed)
    if jax.process_index():
        sys.stdout = None  # the first process speaks for all
    try:
        config = begun(config)
        meta_train(config, asked_of_test(config) if config.test_each else None)
    except Stopped as stop:
        raise Stopped(f"stopped; resume with: {command_line()}", stop.by) from None
    method = method_of(config.method)
    clicks = method.testing.clicks(config.method)
    if method.pointed_at:
        asked = "--image SCAN --box X,Y,Z,X,Y,Z --output masks"
        print(f"next: {called('predict')} --run {config.workdir} {asked}")
    elif method.by_labels:
        print(f"next: {called('test')} --run {config.workdir}")
    elif phantoms:
        how = dict(protocol="within-volume", neighbors=config.tasks.width) if clicks else {}
        test.test(test.Options(run=(config.workdir,), **{"shots": (5, 1)} | how))
    elif config.test_organs:
        named = f" --organs {shlex.join(config.test_organs)}"
        organs = named if config.protocol == "few-shot" else ""
        if clicks:
            organs += f" --protocol within-volume --neighbors {config.tasks.width}"
        print(f"next: {called('test')} --run {config.workdir}{organs}")


def parse(words: list[str]) -> tuple[str, Config]:
    """Read the command line: a preset's name first (or none), then what differs from it."""
    refuse_repeated(words)
    words = list(words)
    base = None
    if "--config-file" in words:
        at = words.index("--config-file")
        if at + 1 == len(words):
            raise BadInput("--config-file needs the path of a file")
        base = read_config(Path(words[at + 1]))
        del words[at : at + 2]
    named = words.pop(0) if words and not words[0].startswith("-") else None
    if named and base:
        raise BadInput(f"preset {named} and --config-file: give one of the two")
    if named not in (None, *PRESETS):
        raise BadInput(f"unknown preset {named!r}: known are {', '.join(PRESETS)}")
    text, preset, *_ = PRESETS[named or DEFAULT_PRESET]
    if named is None and base is None and {"-h", "--help"} & {*words}:
        follows = f"What follows are the options of {DEFAULT_PRESET}."
        text = f"{__doc__}\n{listed_presets()}\n\n{follows}"
    kind = tyro.conf.AvoidSubcommands[Config]  # of each union the member that the preset has
    return named or DEFAULT_PRESET, tyro.cli(
        kind,
        prog=f"{program()} [PRESET]",
        description=described(spelled(text)),
        args=words,
        default=base or preset,
    )


def listed_presets() -> str:
    """List the presets."""
    told = "minutes and memory of a training on two CPU cores (*: on one, ?: not measured)"
    head = f"Presets, with {told}:"
    lines = [
        f"    {name:26}{each.minutes:>3} min {each.memory:>8}  {each.text}"
        for name, each in PRESETS.items()
    ]
    return "\n".join([head, *lines])


def resolve(name: str, config: Config) -> Config:
    """Fill in what was left to us: the run's folder, and phantoms where no data were named."""
    workdir = path_or_none(config.workdir) or Path("runs") / f"{name}-seed{config.seed}"
    config = dataclasses.replace(config, workdir=workdir)
    if config.data:
        return config
    here = workdir.parent
    print(f"no --data: phantoms, ten small data sets, in {here / f'phantoms-{config.seed}'}")
    folders = write_phantoms(here / f"phantoms-{config.seed}", seed=config.seed)
    shards = here / f"phantoms-{config.seed}-shards"
    prepare(folders, shards, size=48, workers=1)  # small: two processes would start for longer
    config = dataclasses.replace(config, data=(shards,))
    if method_of(config.method).by_labels:
        return config
    return dataclasses.replace(
        config,
        test_organs=config.test_organs or PHANTOM_SPLIT["test"],
        val_organs=config.val_organs or PHANTOM_SPLIT["val"],
    )


def command_line() -> str:
    """Repeat the command that runs."""
    return shlex.join([*called("train").split(), *sys.argv[1:]])
