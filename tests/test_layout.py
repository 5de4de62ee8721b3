"""Imports run one way: the walls of the package, held by reading its source.

`FLOORS` is the way of the data; a module may import from its own floor and those before it. A new
file that no line below covers fails here until somebody has decided where it belongs.
"""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (
    ("jaxmeta.errors", "jaxmeta.files", "jaxmeta.numerics", "jaxmeta.bounding_boxes"),
    ("jaxmeta.options",),
    ("jaxmeta.metrics", "jaxmeta.progress"),
    ("jaxmeta.data",),
    ("jaxmeta.phantoms",),
    ("jaxmeta.atlas",),
    ("jaxmeta.models",),
    ("jaxmeta.splits", "jaxmeta.tasks"),
    ("jaxmeta.tasks.loader",),
    ("jaxmeta.losses", "jaxmeta.augmentation", "jaxmeta.cohorts"),
    ("jaxmeta.parallel",),
    ("jaxmeta.inner_loop",),
    ("jaxmeta.algorithms",),
    ("jaxmeta.learners",),
    ("jaxmeta.training",),
    ("jaxmeta.methods",),
    ("jaxmeta.runs",),
    ("jaxmeta.evaluation",),
    ("jaxmeta.reports",),
    ("jaxmeta.inference",),
    ("jaxmeta",),
    ("jaxmeta.commands",),
    ("experiments",),
)
# Who must not know what, beside the floors: (part, what it never imports).
WALLS = (
    ("jaxmeta.data", ("jax", "flax", "optax", "orbax", "grain")),
    ("jaxmeta.atlas", ("jax", "flax", "optax", "jaxmeta.data")),
    ("jaxmeta.splits", ("jax", "flax", "optax", "orbax", "grain")),
    ("jaxmeta.tasks.task", ("jax", "jaxmeta")),
    ("jaxmeta.tasks", ("jax", "flax", "optax", "orbax", "grain")),
    ("jaxmeta.models", ("jaxmeta.tasks", "jaxmeta.data")),
    ("jaxmeta.cohorts", ("jaxmeta.data", "jaxmeta.models")),
    ("jaxmeta.inner_loop", ("jaxmeta.models", "jaxmeta.data", "jaxmeta.parallel")),
    ("jaxmeta.algorithms", ("jaxmeta.data", "jaxmeta.parallel")),
    ("jaxmeta.learners", ("jaxmeta.data", "jaxmeta.models", "jaxmeta.parallel")),
    (
        "jaxmeta.training",
        ("jaxmeta.inner_loop", "jaxmeta.algorithms", "jaxmeta.models", "jaxmeta.data"),
    ),
    ("jaxmeta.reports.figures", ("jax", "jaxmeta.data", "jaxmeta.runs")),
)
BORDER = "jaxmeta.tasks.loader"  # the one file of the tasks that may know JAX


def modules() -> dict[str, Path]:
    """Find every module of the package and of the commands."""
    paths = [p for folder in ("jaxmeta", "experiments") for p in (ROOT / folder).rglob("*.py")]
    names = (".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths)
    return {n.removesuffix(".__init__"): p for n, p in zip(names, paths, strict=True)}


MODULES = modules()


def imports(name: str, text: str) -> set[str]:
    """List what a source imports, at its top or inside a function, by full names."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & MODULES.keys()) or {node.module}
    return found


def within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def floor(name: str) -> int:
    """Number the floor of the longest name that covers a module, or one above all floors."""
    covering = [
        (len(part), number)
        for number, parts in enumerate(FLOORS)
        for part in parts
        if (within(name, part) if part != "jaxmeta" else name == part)  # the package itself is last
    ]
    return max(covering)[1] if covering else len(FLOORS)


SOURCES = {name: imports(name, path.read_text()) for name, path in MODULES.items()}


def test_every_module_has_a_floor():
    homeless = [name for name in MODULES if floor(name) == len(FLOORS)]
    assert not homeless, f"decide in FLOORS where these belong: {homeless}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_downward(name):
    ours = {other for other in SOURCES[name] if other.split(".")[0] in ("jaxmeta", "experiments")}
    upward = {other for other in ours if floor(other) > floor(name)}
    assert not upward, f"{name} imports {sorted(upward)} of a later floor"


@pytest.mark.parametrize("part, forbidden", WALLS, ids=[part for part, _ in WALLS])
def test_walls_stand(part, forbidden):
    behind = [name for name in MODULES if within(name, part) and name != BORDER]
    assert behind, f"{part} is gone: mend WALLS"
    for name in behind:
        known = {o for o in SOURCES[name] for wall in forbidden if within(o, wall)}
        assert not known, f"{name} must not import {sorted(known)}"


def test_no_two_modules_import_each_other():
    package = {name for name in MODULES if within(name, "jaxmeta")}
    graph = {name: (SOURCES[name] & package) - {name} for name in package}
    graphlib.TopologicalSorter(graph).prepare()


def test_flax_stays_inside_the_models():
    users = [n for n, o in SOURCES.items() if any(within(x, "flax") for x in o)]
    assert all(within(name, "jaxmeta.models") for name in users), users


def called(name: str) -> set[str]:
    """List the functions that a module calls, as they are spelled there."""
    nodes = ast.walk(ast.parse(MODULES[name].read_text()))
    return {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}


def test_the_library_prints_by_its_progress_alone_and_sets_up_jax_in_one_file():
    library = [n for n in MODULES if within(n, "jaxmeta") and not within(n, "jaxmeta.commands")]
    calls = {name: called(name) for name in library}
    assert not [name for name in library if calls[name] & {"print", "sys.stdout.write"}]
    assert [name for name in library if "tqdm.write" in calls[name]] == ["jaxmeta.progress"]
    assert [n for n in library if "jax.config.update" in calls[n]] == ["jaxmeta.parallel.devices"]


def dispatches(text: str, names: set[str]) -> list[str]:
    """List where a source compares with a method's name or asks for the class of its options."""

    def named(node) -> bool:
        parts = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]
        constants = {part.value for part in parts if isinstance(part, ast.Constant)}
        classes = {part.id for part in parts if isinstance(part, ast.Name)}
        return bool((constants | classes) & names)

    found = []
    for node in ast.walk(ast.parse(text)):
        asked = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            asked = node.args[1:]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        if any(map(named, asked)):
            found.append(ast.unparse(node))
    return found


def test_nobody_compares_methods_by_name():
    """A method is asked through its value: only its own file, and presets, know which it is."""
    from jaxmeta.methods import ALL

    names = {each.name for each in ALL} | {each.options.__name__ for each in ALL}
    names -= {"scratch", "transfer"}  # names of rows too
    seen = "config.algorithm == 'reptile'; isinstance(own, Maml); x in ('sam', 'b'); a.name == b"
    assert len(dispatches(seen, names)) == 3
    aware = ("jaxmeta.methods", "jaxmeta.runs.presets", "experiments")  # which times them
    free = [n for n in MODULES if not any(within(n, part) for part in aware)]
    found = {name: dispatches(MODULES[name].read_text(), names) for name in free}
    assert not {name: places for name, places in found.items() if places}


def test_nobody_asks_for_the_class_of_a_network():
    """Nor compares its name, where that is no method's too: only its own file does."""
    from jaxmeta.methods import METHODS, networks

    names = {each.name for each in networks.ALL} | {each.options.__name__ for each in networks.ALL}
    free = [
        n for n in MODULES if within(n, "jaxmeta") and not within(n, "jaxmeta.methods.networks")
    ]
    found = {name: dispatches(MODULES[name].read_text(), names - METHODS.keys()) for name in free}
    assert not {name: places for name, places in found.items() if places}


def test_nobody_imports_what_one_method_is_made_of():
    """But for the default of a run, and for the baseline that is pre-trained beside it."""
    from jaxmeta.methods import ALL

    made = {(each.algorithm or each.learner).__module__ for each in ALL}
    own = made | {each.options.__module__ for each in ALL}
    free = [n for n in MODULES if within(n, "jaxmeta") and not within(n, "jaxmeta.methods")]
    found = {name: SOURCES[name] & own for name in free if SOURCES[name] & own}
    del found["jaxmeta.runs.presets"]
    assert found == {
        "jaxmeta.runs.config": {"jaxmeta.methods.maml"},
        "jaxmeta.evaluation.pretraining": {"jaxmeta.methods.transfer"},
    }


def test_upward_imports_would_be_seen():
    text = "def f():\n    from jaxmeta.learners import learner\n    import jax.numpy as jnp\n"
    assert imports("x", text) == {"jaxmeta.learners.learner", "jax.numpy"}
    assert (
        floor("jaxmeta.learners.learner")
        > floor("jaxmeta.inner_loop.adapt")
        > floor("jaxmeta.tasks.episodes")
    )
    assert floor("jaxmeta.tasks.episodes") > floor("jaxmeta.data.shards.shards")
    assert floor("jaxmeta.nowhere") == len(FLOORS)


def test_data_and_tasks_start_without_jax():
    folders = ("jaxmeta.data", "jaxmeta.splits", "jaxmeta.tasks")
    light = [n for n in MODULES if any(within(n, folder) for folder in folders)]
    lines = [f"import {name}" for name in sorted(light) if name != BORDER]
    lines += ["import sys", "print('jax' in sys.modules, 'jaxlib' in sys.modules)"]
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.split() == ["False", "False"], ran.stdout + ran.stderr


def test_the_package_gives_the_names_of_a_notebook_and_waits_for_jax():
    told = "import jaxmeta, jaxmeta.data.shards.prepare, sys; assert 'jax' not in sys.modules;"
    told += "print([getattr(jaxmeta, name).__name__ for name in jaxmeta.__all__])"
    ended = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    import jaxmeta

    assert ended.stdout.strip() == str(jaxmeta.__all__)
