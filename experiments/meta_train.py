"""Learn, from organs that have labels, how to segment an organ that has almost none.

    python -m experiments.meta_train                  phantoms, five minutes, ends with a table
    python -m experiments.meta_train PRESET --data SHARDS --test-organs NAME --workdir RUN

The same command again resumes a run that was stopped.
"""

import dataclasses
import json
import os
import shlex
import signal
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tyro
from tqdm import tqdm

from experiments import configs, meta_test
from experiments.command import run
from experiments.configs import PRESETS, Config, episode_shape, read_config, to_json
from jaxmeta import checkpoint, devices, track
from jaxmeta.data.phantoms import PHANTOM_SPLIT, write_phantoms
from jaxmeta.data.prepare import prepare
from jaxmeta.data.shards import Shards, open_shards
from jaxmeta.errors import BadInput
from jaxmeta.tasks.episodes import describe_episode
from jaxmeta.tasks.loader import load_task, task_batches
from jaxmeta.tasks.split import Split, count_table, pool, split
from jaxmeta.train import cost, train
from jaxmeta.validate import mean_over_structures, validation


def main() -> None:
    """Parse, train, and for the phantoms test."""
    name, config = parse(sys.argv[1:])
    phantoms = not config.data
    config = resolve(name, config)
    configs.begin(config.workdir.parent / ".compiled")
    finished = meta_train(config)
    if not finished:
        return
    if phantoms:
        meta_test.test(meta_test.Options(run=(config.workdir,), shots=(5, 1)))
    elif config.test_organs:
        organs = shlex.join(config.test_organs)
        print(f"next: python -m experiments.meta_test --run {config.workdir} --organs {organs}")


def parse(words: list[str]) -> tuple[str, Config]:
    """Read the command line: a preset's name first (or none), then what differs from it."""
    words = list(words)
    base = None
    if "--config-file" in words:
        at = words.index("--config-file")
        if at + 1 == len(words):
            raise BadInput("--config-file needs the path of a file")
        base = read_config(Path(words[at + 1]))
        del words[at : at + 2]
    if words and words[0] in ("-h", "--help"):
        presets = "\n".join(f"    {name:10} {text}" for name, (text, _) in PRESETS.items())
        tyro.cli(Config, description=f"{__doc__}\nPresets:\n{presets}\n", args=words)
    name = words.pop(0) if words and not words[0].startswith("-") else "unet-maml"
    if name not in PRESETS:
        raise BadInput(f"unknown preset {name!r}: known are {', '.join(PRESETS)}")
    text, preset = PRESETS[name]
    return name, tyro.cli(Config, description=text, args=words, default=base or preset)


def resolve(name: str, config: Config) -> Config:
    """Fill in what was left to us: the run's folder, and phantoms where no data were named."""
    workdir = config.workdir or Path("runs") / f"{name}-seed{config.seed}"
    config = dataclasses.replace(config, workdir=workdir)
    if config.data:
        return config
    here = workdir.parent
    folders = write_phantoms(here / f"phantoms-{config.seed}", seed=config.seed)
    shards = here / f"phantoms-{config.seed}-shards"
    prepare(folders, shards, workers=1)  # small: two processes would only start for longer
    return dataclasses.replace(
        config,
        data=(shards,),
        test_organs=config.test_organs or PHANTOM_SPLIT["test"],
        val_organs=config.val_organs or PHANTOM_SPLIT["val"],
    )


def meta_train(config: Config) -> bool:
    """Train to the end, from where an earlier run was stopped; False if this one was, too."""
    shards = open_shards(config.data)
    config, division = claim(config, shards)
    shape = episode_shape(config)
    training = pool(shards, division, "train")
    print(f"device: {devices.describe_devices()}")
    print(f"run:    {config.workdir} ({config.method}, seed {config.seed})")
    print(count_table(shards, division))

    mesh = devices.task_mesh(config.tasks.count)
    _, learner = configs.build(config, mesh=mesh)
    state = devices.replicate(jax.jit(learner.init)(jax.random.key(config.seed)), mesh)
    batches = task_batches(training, shape, seed=config.seed, tasks=config.tasks.count)
    score = validator(config, learner, shards, division)

    with checkpoint.open_checkpoints(config.workdir / "checkpoints") as checkpoints:
        start, state = checkpoint.resume(checkpoints, state, batches)
        write = track.metrics_file(config.workdir / "metrics.jsonl", after=start)
        if start >= config.steps:
            if checkpoints.latest is None:
                checkpoint.save(checkpoints, 0, state, batches, None)
            print(f"trained already: {start} steps")
            return True
        place = partial(devices.place, mesh=mesh)
        example = place(load_batch(training, shape, config))
        began = time.perf_counter()
        step = jax.jit(learner.step, donate_argnums=0).lower(state, example).compile()
        needs = cost(step)
        print(
            f"step:   compiled in {time.perf_counter() - began:.0f} s; {needs['temporary_mib']:.0f} MiB "
            f"temporary memory a device; {needs['gflop']:.1f} GFLOP with every loop body counted once"
        )
        if start:
            print(f"resumed at step {start}")
        stop = stop_signal()
        began = time.perf_counter()
        bar = tqdm(total=config.steps, initial=start, disable=not sys.stderr.isatty(), unit="step")

        def log(number: int, values: dict) -> None:
            write(number, values)
            bar.update(number - bar.n)
            shown = ("loss", "dice_before", "dice", "grad_norm")
            bar.set_postfix({k: f"{values[k]:.3f}" for k in shown if k in values}, refresh=False)

        def save(number: int, state) -> None:
            value = score(state)
            if value is not None:
                bar.write(f"step {number}: Dice {value:.3f} on validation organs", file=sys.stdout)
                write(number, dict(validation_dice=value))
            checkpoint.save(checkpoints, number, state, batches, value)

        number, state, spent = train(
            step,
            state,
            batches,
            start=start,
            steps=config.steps,
            every=config.every,
            place=place,
            log=log,
            save=save,
            interrupted=lambda: bool(stop),
            name_task=partial(describe_episode, training, shape, config.seed),
        )
        bar.close()
    seconds = time.perf_counter() - began
    parts = ", ".join(f"{what} {part:.0f} s" for what, part in sorted(spent.items()))
    print(
        f"{number - start} steps in {seconds:.0f} s ({(number - start) / seconds:.2f} a second): {parts}"
    )
    if number < config.steps:
        print(f"stopped at step {number}; resume with: {shlex.join([*command_line()])}")
        return False
    return True


def claim(config: Config, shards: Shards) -> tuple[Config, Split]:
    """Write what the run is into its folder, or check that it is what stands there.

    Returns the configuration with the structures that training draws, and the split.
    """
    division = split(
        shards,
        test_organs=config.test_organs,
        val_organs=config.val_organs,
        train_organs=config.train_organs or None,
        test_patients=config.test_patients or None,
        seed=config.seed,
    )
    entries = pool(shards, division, "train").entries
    names = tuple(f"{entry.dataset}/{entry.organ}" for entry in entries)
    config = dataclasses.replace(config, structures=names)
    told = dict(config=to_json(config), split=to_json(division))
    del told["config"]["workdir"]  # a folder may be moved
    path = config.workdir / "config.json"
    if path.exists():
        stands = configs.read_json(path)
        for part, values in told.items():
            for name, value in values.items():
                if (before := stands[part].get(name)) != value:
                    raise BadInput(
                        f"{path} is of a run with another {part}: {name} was {before}, is {value}; "
                        "give another --workdir"
                    )
        return config, division
    config.workdir.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(told, indent=1))
    os.replace(beside, path)
    return config, division


def validator(config: Config, learner, shards, division):
    """Make state -> score on fixed tasks of validation organs; None where there are no such organs."""
    if not division.val_organs:
        return lambda state: None
    shape, seed = episode_shape(config), config.seed + 1_000_003  # not the training's episodes
    validating = pool(shards, division, "val")
    mesh = devices.task_mesh(config.validation_tasks)
    tasks = [load_task(validating, shape, seed, n) for n in range(config.validation_tasks)]
    tasks = jax.tree.map(lambda *a: np.stack(a), *tasks)
    dice = validation(learner, mesh)
    placed = devices.place(tasks, mesh)

    def score(state) -> float:
        values = dice(devices.replicate(jax.device_get(state), mesh), placed)
        return mean_over_structures(jax.device_get(values), tasks.ident)

    return score


def load_batch(training, shape, config: Config):
    """Load the first batch's tasks of this process, for their shapes."""
    count = config.tasks.count // jax.process_count()
    tasks = [load_task(training, shape, config.seed, n) for n in range(count)]
    return jax.tree.map(lambda *a: np.stack(a), *tasks)


def stop_signal() -> list[int]:
    """Catch SIGTERM and SIGINT: the list is no longer empty once one has come."""
    caught: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, frame: caught.append(got))
    return caught


def command_line() -> list[str]:
    """Repeat the command that runs."""
    return ["python", "-m", "experiments.meta_train", *sys.argv[1:]]


if __name__ == "__main__":
    run(main)
