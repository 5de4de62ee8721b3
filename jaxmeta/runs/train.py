"""One run of training, from its configuration to its last checkpoint: for every command that
trains."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxmeta.errors import BadInput, Stopped
from jaxmeta.files import beside
from jaxmeta.learners.learner import Learner
from jaxmeta.methods import method_of
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.options import Volumes
from jaxmeta.parallel import devices
from jaxmeta.progress import compiling, following, say
from jaxmeta.runs.build import build, singles, target_examples, task_source
from jaxmeta.runs.claim import claim
from jaxmeta.runs.config import Config, to_json
from jaxmeta.runs.feature_cache import with_prefixes
from jaxmeta.runs.protocol import stated
from jaxmeta.runs.run import backbone_of, beginning
from jaxmeta.runs.setup import Given, gather
from jaxmeta.runs.stopping import stop_signal
from jaxmeta.splits.decathlon import lacking
from jaxmeta.splits.labelled import describe
from jaxmeta.splits.pool import count_table, pool
from jaxmeta.tasks.loader import task_batches
from jaxmeta.tasks.source import Source, describe_task, load_task
from jaxmeta.tasks.task import Task
from jaxmeta.training import checkpoint, dashboards, metrics_log
from jaxmeta.training.loop import cost, summary, train
from jaxmeta.training.validation import mean_over_structures, validation

WATCHED = "watched"  # in a run's folder: what its learner shows while it learns
WATCHED_BATCHES = 8  # of steps; each takes about as long as one
Asked = Callable[[int, PyTree], dict[str, float]]
DASHBOARDS = {"tensorboard": dashboards.tensorboard, "wandb": dashboards.wandb}


def meta_train(config: Config, asked: Asked | None = None) -> Path:
    """Train to the end, from where an earlier run was stopped; return the run's folder.

    At each checkpoint what `asked(step, state)` answers is logged too.

    Raises Stopped if this one was, too; what it did is saved, and the same command goes on.
    """
    if config.test_each and asked is None:
        raise BadInput(
            "`test_each` without anybody who asks: a command does, or evaluation/best_on_test.py"
        )
    with stop_signal() as stop:
        if not trained(config, stop, asked):
            again = f"stopped; {config.workdir} goes on where it was with the same command"
            raise Stopped(again, *stop[:1])
    return config.workdir


def trained(config: Config, stop: list[int], asked: Asked | None = None) -> bool:
    """Train until the end, or until `stop` is no longer empty."""
    given = gather(config)
    config, division, source = given.config, given.division, given.source
    method = method_of(config.method)
    shared = method.shares_images(config)
    mesh = devices.image_mesh() if shared else devices.task_mesh(config.tasks.batch_size)
    introduce(given, mesh.size)
    backbone = backbone_of(config, division)
    claim(given, backbone, write=False)
    learner = learner_of(given, mesh, backbone)
    # a whole Segment Anything to begin with is nothing to compile: its weights would be constants
    whole = config.origin and (method.pointed_at or network_of(config).stateful(config))
    init = learner.init if whole else devices.jit(learner.init)
    with following("drawing the network", "network"):
        state = devices.replicate(init(jax.random.key(config.seed)), mesh)
    say(parameters_text(learner.learned(state), frozen=method.frozen is not None))
    if config.feature_cache != "off":
        source = with_prefixes(config, source, backbone)
    batches = task_batches(source, seed=config.seed, tasks=config.tasks.batch_size)
    score = validator(given)

    folder = config.workdir / "checkpoints"
    with checkpoint.open_checkpoints(folder) as checkpoints, ExitStack() as opened:
        start, state = checkpoint.resume(checkpoints, state, batches)
        if start >= config.steps:
            about = claim(given, backbone)
            if checkpoints.latest is None:
                checkpoint.save(checkpoints, 0, state, batches, None, about)
            say(f"trained already: {start} steps")
            return True
        state = devices.replicate(learner.from_save(state), mesh)
        place = partial(devices.replicate if shared else devices.place, mesh=mesh)
        count = config.tasks.batch_size // jax.process_count()
        example = place(load_tasks(source, config.seed, range(count)))
        with compiling():
            step = compiled(learner, state, example, mesh)
        write = opened.enter_context(tracking(config, after=start))
        keep = watcher(given, learner)
        about = claim(given, backbone)  # not before all that could be refused has been
        if start:
            say(f"resumed at step {start}")
        else:
            keep(0, state)
        began = time.perf_counter()
        told = dict(start=start, first=f"training: {config.steps - start} steps to go")
        tell = opened.enter_context(following("training", "step", config.steps, **told))

        last = {}

        def log(number: int, values: dict) -> None:
            if "images" in values:  # that a step learned from: how many are told, and how fast
                values |= dict(images_per_second=values["images"] / values["seconds"])
            last.update(values)
            write(number, values)
            shown = ("loss", "clean_loss", "dice_before", "dice", "grad_norm")
            tell(number, " ".join(f"{k} {values[k]:.3f}" for k in shown if k in values))

        def save(number: int, state, due: bool) -> None:
            value = score(state) if due else None  # a stop must not offer another choice
            if due:
                keep(number, state)
            if value is not None:
                told = f"Dice {value:.3f} on validation organs{method.validated_by(config)}"
                say(f"step {number}: {told}")
                write(number, dict(validation_dice=value))
            if asked is not None and due:
                write(number, asked(number, jax.device_get(state)))
            checkpoint.save(checkpoints, number, learner.to_save(state), batches, value, about)

        number, state, spent = train(
            step,
            state,
            batches,
            start=start,
            steps=config.steps,
            every=config.checkpoint_every,
            place=place,
            log=log,
            save=save,
            interrupted=lambda: devices.any_process(bool(stop)),
            name_task=partial(named_task, source, config.seed),
            summarize=summarized,
        )
    seconds = time.perf_counter() - began
    rate = (number - start) / seconds
    parts = ", ".join(f"{what} {part:.0f} s" for what, part in sorted(spent.items()))
    images = f", {rate * last['images']:.0f} images" if "images" in last else ""
    say(
        f"{number - start} steps in {seconds:.0f} s ({rate:.2f} a second, "
        f"{rate * config.tasks.batch_size:.1f} tasks{images}): {parts}"
    )
    if text := method.told(last):
        say(f"note: {text}")
    return number >= config.steps


def introduce(given: Given, parts: int) -> None:
    """Print what will be trained, on what, and in how many parts."""
    config, shards, protocol = given.config, given.shards, given.protocol
    decathlon = isinstance(config.tasks, Volumes) and config.tasks.decathlon
    if decathlon and (gone := lacking(given.source.pool, config.test_organs)):
        say(f"note: {len(gone)} sub-tasks of the Decathlon are not in the data: {', '.join(gone)}")
    say(f"device: {devices.describe_devices()}")
    say(f"run:    {config.workdir} ({config.algorithm}, seed {config.seed})")
    say(count_table(shards, given.division, single_patients=singles(config)))
    if protocol:
        say(stated(protocol, shards))
    if given.division.labelled:
        say(describe(given.division, shards))
    if not given.division.test_organs:
        say("note: nothing is held out to be tested on: `test_organs=NAME` names it")
    if not given.division.val_organs and not protocol and not given.division.labelled:
        say(
            "note: no organ chooses the checkpoint, so the last one counts: `val_organs=NAME` "
            "names some"
        )
    count = config.tasks.batch_size
    shared = f"{count // parts} a device" if count % parts == 0 else f"{parts} devices share it"
    say(f"tasks:  {count} a step, {shared}")
    for note in given.notes:
        say(f"note: {note}")


def learner_of(given: Given, mesh: Mesh, backbone: PyTree) -> Learner:
    """Make the learner, with the network that it begins with and the slices that it looks at, if
    any."""
    config, network = given.config, None
    if config.origin and method_of(config.method).frozen is None:
        network = beginning(config, given.division)
    target = target_examples(config, given.shards, given.division)
    return build(config, mesh=mesh, network=network, target=target, backbone=backbone)


def named_task(source: Source, seed: int, per_task: dict, place: int) -> str:
    """Say to a person which task of a step's batch it is."""
    return describe_task(source, seed, int(per_task["index"][place]))


def summarized(metrics: dict) -> dict:
    """Flatten a step's metrics, with the structures that were drawn and the Dice of each task."""
    per_task = metrics["per_task"]
    each = {"structures": np.asarray(per_task["structure"]).tolist()}
    if "dice" in per_task:
        each["task_dice"] = np.round(np.asarray(per_task["dice"], float), 4).tolist()
    return summary(metrics) | each


def compiled(learner: Learner, state: PyTree, example: Task, mesh: Mesh) -> Callable:
    """Compile a step for batches like this one, and print what it needs."""
    began = time.perf_counter()
    all_know = devices.everywhere(mesh)  # the metrics too: the first process writes them
    step = devices.jit(learner.step, donate_argnums=0, out_shardings=all_know)
    step = step.lower(state, example).compile()
    needs = cost(step)
    say(
        f"step:   compiled in {time.perf_counter() - began:.0f} s; {needs['temporary_mib']:.0f} "
        f"MiB temporary memory a device; {needs['gflop']:.1f} GFLOP with every loop body counted "
        "once"
    )
    return step


def parameters_text(learned: PyTree, *, frozen: bool) -> str:
    """Say how many parameters are trained, and what they stand on."""
    own = sum(leaf.size for leaf in jax.tree.leaves(learned))
    return f"learns: {own:,} parameters" + (" on a frozen image encoder" if frozen else "")


def tracking(config: Config, *, after: int) -> AbstractContextManager[metrics_log.Write]:
    """Open what a run's metrics go to; only the first of several processes writes any."""
    if jax.process_index():
        return nullcontext(lambda step, values: None)
    told = dict(config=to_json(config), structures=config.structures)
    chosen = [partial(DASHBOARDS[name], **told) for name in DASHBOARDS if name in config.track]
    return metrics_log.write_metrics(config.workdir, chosen, after=after)


def watcher(given: Given, learner: Learner) -> Callable:
    """Make (step, state) -> None, which keeps what a learner shows of the run's first slices, where
    it shows any, in the run's folder."""
    config, source = given.config, given.source
    if learner.watch is None:
        return lambda number, state: None
    watch, count = devices.jit(learner.watch), config.tasks.batch_size
    tasks = range(WATCHED_BATCHES * count)
    batches = [load_tasks(source, config.seed, tasks[n : n + count]) for n in tasks[::count]]
    scans = source.pool.shards.volumes
    queries = (source.draw(config.seed, n).query for n in tasks)
    names = [f"{scans[scan].name}:{at}" for query in queries for scan, at in query]

    def keep(number: int, state) -> None:
        parts = [jax.device_get(watch(state, batch)) for batch in batches]
        if jax.process_index():
            return
        shown = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        folder = config.workdir / WATCHED
        folder.mkdir(parents=True, exist_ok=True)
        with beside(folder / f"{number}.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, slices=names, **shown)

    return keep


def validator(given: Given) -> Callable:
    """Make state -> score on fixed tasks of validation organs; None where there are no such
    organs."""
    config, division = given.config, given.division
    if not division.val_organs:
        return lambda state: None
    validating = pool(given.shards, division, "val", single_patients=singles(config))
    seed = config.seed + 1_000_003  # not the training's episodes
    source = task_source(config, validating, training=False)
    tasks = load_tasks(source, seed, range(config.validation_tasks))
    mesh = devices.task_mesh(config.validation_tasks, local=True)  # every process finds the same
    learner = build(config, testing=True)
    dice, placed = validation(learner.predictor, mesh), devices.place(tasks, mesh)

    def score(state) -> float:
        values = dice(devices.replicate(jax.device_get(state), mesh), placed)
        return mean_over_structures(jax.device_get(values), tasks.task_id[:, 1])

    return score


def load_tasks(source: Source, seed: int, numbers: Iterable[int]) -> Task:
    """Load tasks of a source as one batch."""
    tasks = [load_task(source, seed, number) for number in numbers]
    return jax.tree.map(lambda *a: np.stack(a), *tasks)
