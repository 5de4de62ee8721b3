"""Learn, from organs that have labels, how to segment an organ that has almost none.

    python -m experiments.meta_train                  phantoms, five minutes, ends with a table
    python -m experiments.meta_train PRESET --data SHARDS --test-organs NAME --workdir RUN
    python -m experiments.meta_train unet-maml --algorithm NAME       another algorithm, likewise

The same command again resumes a run that was stopped. `--config-file FILE` starts from a run's
config.json, or from a file with some of its fields, and what else is on the command line overrules
it.
"""

import dataclasses
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import jax
import tyro

from jaxmeta.commands import test
from jaxmeta.commands.command import refuse_repeated
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.errors import BadInput, Stopped
from jaxmeta.evaluation.pretraining import PASSED_ON
from jaxmeta.parallel import devices
from jaxmeta.phantoms.write import PHANTOM_SPLIT, write_phantoms
from jaxmeta.runs.checks import check
from jaxmeta.runs.config import INNER, Config
from jaxmeta.runs.config_file import read_config
from jaxmeta.runs.presets import OWN_NETWORK, PRESETS, TRANSFER_RATES, with_algorithm
from jaxmeta.runs.train import meta_train

# What says who may see what, and is the same for the network that a run begins with.
SPLIT = ("data", "test_organs", "val_organs", "train_organs", "test_patients", "protocol", "fold")
SPLIT += ("setting", "seed", "distributed")
# And how slices are read.
READ = ("size", "spacing", "least_pixels", "single_patients", "decathlon")


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
        if config.algorithm == "ssm-sam" and config.init_from is None:
            config = on_tiny(config)
        meta_train(config)
    except Stopped as stop:
        raise Stopped(f"stopped; resume with: {shlex.join(command_line())}", stop.by) from None
    if config.algorithm == "sam":
        asked = "--image SCAN --box X,Y,Z,X,Y,Z --output masks"
        print(f"next: python -m experiments.predict --run {config.workdir} {asked}")
    elif phantoms:
        clicks = config.prompted.prompt == "clicks"
        how = dict(protocol="within-volume", neighbors=config.tasks.width) if clicks else {}
        test.test(test.Options(run=(config.workdir,), **{"shots": (5, 1)} | how))
    elif config.test_organs:
        organs = "" if config.protocol else f" --organs {shlex.join(config.test_organs)}"
        if config.prompted.prompt == "clicks":
            organs += f" --protocol within-volume --neighbors {config.tasks.width}"
        print(f"next: python -m experiments.meta_test --run {config.workdir}{organs}")


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
    if words and words[0] in ("-h", "--help"):
        presets = "\n".join(f"    {name:16} {text}" for name, (text, _) in PRESETS.items())
        tyro.cli(Config, description=f"{__doc__}\nPresets:\n{presets}\n", args=words)
    named = words.pop(0) if words and not words[0].startswith("-") else None
    if named and base:
        raise BadInput(f"preset {named} and --config-file: give one of the two")
    if named not in (None, *PRESETS):
        raise BadInput(f"unknown preset {named!r}: known are {', '.join(PRESETS)}")
    text, preset = PRESETS[named or "unet-maml"]
    base = base or preset
    algorithm = asked(words, "--algorithm", INNER) or base.algorithm
    if any(word.partition("=")[0] == "--network.function" for word in words):
        base = dataclasses.replace(
            base, network=OWN_NETWORK
        )  # of whose parts no other option tells
    kind = asked(words, "--network.kind", TRANSFER_RATES) or base.network.kind
    other = kind != base.network.kind and algorithm == "transfer"  # whose rate depends on it
    base = dataclasses.replace(base, network=dataclasses.replace(base.network, kind=kind))
    if other or algorithm != base.algorithm:
        base = with_algorithm(base, algorithm)
    config = tyro.cli(Config, description=text, args=words, default=base)
    name = named or "unet-maml"
    return name if algorithm == PRESETS[name][1].algorithm else algorithm, config


def asked(words: Sequence[str], option: str, known: Collection[str]) -> str | None:
    """Find on the command line what other settings begin with: the algorithm, or the kind of
    network."""
    for word, following in zip(words, [*words[1:], ""]):
        name, _, value = word.partition("=")
        if name == option:
            value = value or following
            return value if value in known else None  # what is unknown is refused as any option
    return None


def resolve(name: str, config: Config) -> Config:
    """Fill in what was left to us: the run's folder, and phantoms where no data were named."""
    workdir = config.workdir or Path("runs") / f"{name}-seed{config.seed}"
    config = dataclasses.replace(config, workdir=workdir)
    if config.data:
        return config
    here = workdir.parent
    print(f"no --data: phantoms, ten small data sets, in {here / f'phantoms-{config.seed}'}")
    folders = write_phantoms(here / f"phantoms-{config.seed}", seed=config.seed)
    shards = here / f"phantoms-{config.seed}-shards"
    prepare(folders, shards, size=48, workers=1)  # small: two processes would start for longer
    return dataclasses.replace(
        config,
        data=(shards,),
        test_organs=config.test_organs or PHANTOM_SPLIT["test"],
        val_organs=config.val_organs or PHANTOM_SPLIT["val"],
    )


def on_tiny(config: Config) -> Config:
    """Train the network that SSM-SAM adapts, on what the run may see; return a run that begins with
    it."""
    workdir = config.workdir / "sam"
    if config.tasks.as_uint8:
        raise BadInput("--tasks.as-uint8 needs --init-from: sam-tiny learns from intensities")
    seen = {name: getattr(config, name) for name in SPLIT}
    read = {name: getattr(config.tasks, name) for name in READ}
    usual = PRESETS["sam-tiny"][1]
    tasks = dataclasses.replace(usual.tasks, **read)
    allowed = tuple(kind for kind in config.allow_leak if kind in PASSED_ON)
    first = dataclasses.replace(usual, workdir=workdir, tasks=tasks, allow_leak=allowed, **seen)
    print(
        f"no --init-from: first {workdir}, on source organs of this split alone; no published "
        "weights"
    )
    return dataclasses.replace(config, init_from=meta_train(first))


def command_line() -> list[str]:
    """Repeat the command that runs."""
    return ["python", "-m", "experiments.meta_train", *sys.argv[1:]]
