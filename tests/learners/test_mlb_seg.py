"""MLB-Seg's iteration: the published code's values, and what must hold of any weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.augmentation.variants import draw_looks, looks, shown
from jaxmeta.learners.mlb_seg import (
    Bootstrapping,
    Rule,
    Seen,
    cross_entropy,
    drawn,
    flat,
    iterate,
    mlb_seg,
    normalized,
    pseudo_probability,
    regularization,
    seen,
    taught,
)
from jaxmeta.learners.teacher import decay_at, followed
from jaxmeta.losses.consistency import pairwise
from jaxmeta.models.batch_norm import STATISTICS, BatchNorm
from jaxmeta.tasks.task import Examples, Task
from tests.helpers.sizes import golden

PUBLISHED = Rule(lambda step: 0.005, published=True)
LAYERS = {"plain": (0, 2, 4), "bn": (0, 3, 6)}  # of the published Sequential
NORMS = {"plain": (), "bn": (1, 4)}


def convolve(image, kernel, bias):
    """Convolve [N, S, S, C] by PyTorch's kernel."""
    side = kernel.shape[-1] // 2
    found = jax.lax.conv_general_dilated(
        image, kernel, (1, 1), [(side, side)] * 2, dimension_numbers=("NHWC", "OIHW", "NHWC")
    )
    return found + bias[None, None, None]


def small_network(kind):
    """The network of the published iteration, its arrays as PyTorch names them."""

    def forward(student, state, image, *, train):
        x, after = image, {}
        for number, layer in enumerate(LAYERS[kind]):
            x = convolve(x, student[f"{layer}.weight"], student[f"{layer}.bias"])
            if number == 2:
                return x[..., 0], after or state
            if kind == "plain":
                x = jnp.tanh(x)
                continue
            norm = NORMS[kind][number]
            own = {"scale": student[f"{norm}.weight"], "bias": student[f"{norm}.bias"]}
            running = {
                "mean": state[f"{norm}.running_mean"],
                "variance": state[f"{norm}.running_var"],
            }
            x, moved = BatchNorm(train).apply(
                {"params": own, STATISTICS: running}, x, mutable=[STATISTICS]
            )
            after[f"{norm}.running_mean"] = moved[STATISTICS]["mean"]
            after[f"{norm}.running_var"] = moved[STATISTICS]["variance"]
            x = jax.nn.relu(x)

    return forward


class Published:
    """What one iteration of the published code was given, and gave."""

    def __init__(self, kind):
        with np.load(golden(f"mlb_seg_step_{kind}.npz")) as file:
            self.values = {name: file[name] for name in file.files if name != "config"}

    def __getitem__(self, name):
        return jnp.asarray(self.values[name])

    def tree(self, start, running=False):
        """Take the parameters below a name, or the running statistics."""
        found = {n.removeprefix(start): a for n, a in self.values.items() if n.startswith(start)}
        return {
            name: jnp.asarray(array)
            for name, array in found.items()
            if ("running" in name) == running and "tracked" not in name
        }

    def seen(self, part, label, draws, noise):
        draws = self[f"input/{draws}"]
        given = looks(draws, 24, jnp.float64)
        return Seen(
            jnp.moveaxis(self[f"input/{part}"], 1, -1),
            self[f"input/{label}"][:, 0],
            given,
            jnp.ones((len(draws), 5, 24, 24), bool),
            jnp.moveaxis(self[f"input/{noise}"], 1, -1),
        )


@pytest.fixture(params=["plain", "bn"])
def published(request, x64):
    given = Published(request.param)
    state = Bootstrapping(
        given.tree("input/student/"),
        given.tree("input/student/", running=True),
        given.tree("input/teacher/"),
        given.tree("input/momentum_buffer/"),
        jnp.asarray(3),
        jnp.asarray(0),
    )
    unlabelled = given.seen(
        "variants_image", "variants_initial_label", "draws_unlabelled", "teacher_noise_unit"
    )
    clean = given.seen(
        "clean_variants_image", "clean_variants_label", "draws_clean", "clean_teacher_noise_unit"
    )
    return small_network(request.param), given, state, unlabelled, clean


def close(found, expected, rtol=1e-9):
    for name, array in expected.items():
        scale = np.abs(np.asarray(array)).max()
        np.testing.assert_allclose(found[name], array, rtol=rtol, atol=rtol * scale + 1e-13)


def test_an_iteration_is_the_published_code_s(published):
    forward, given, state, unlabelled, clean = published
    after, scalars = jax.jit(iterate, static_argnums=(0, 1))(
        forward, PUBLISHED, state, unlabelled, clean
    )
    for name, expected in (
        ("consistency", "stage/L_cons"),
        ("teaching", "stage/L_ema"),
        ("meta_loss", "stage/meta_loss"),
        ("loss", "real/loss"),
        ("grad_norm", "real/grad_norm_before_clip"),
        ("clean_loss", "clean/loss"),
    ):
        np.testing.assert_allclose(scalars[name], given[expected], rtol=1e-9)
    close(after.student, given.tree("clean/student/"))
    close(after.teacher, given.tree("clean/teacher/"))
    close(after.momentum, given.tree("clean/momentum_buffer/"))
    close(after.state, given.tree("clean/student/", running=True))
    weights = np.asarray(given["stage/w"]).reshape(-1, 5, 2, 24, 24)
    assert float(scalars["initial_share"]) == pytest.approx(weights[:, :, 0].sum(), rel=1e-9)
    assert float(scalars["weight_mirrored"]) == pytest.approx(weights[:, 4].sum(), rel=1e-9)


def test_pseudo_labels_are_the_published_code_s(published):
    forward, given, state, unlabelled, _ = published
    logits, _ = forward(state.student, state.state, unlabelled.image, train=True)
    np.testing.assert_allclose(
        jax.nn.sigmoid(logits), given["stage/p_virtual"][:, 0], rtol=1e-9, atol=1e-12
    )
    label = pseudo_probability(jax.nn.sigmoid(logits), unlabelled, PUBLISHED) > 0.5
    np.testing.assert_array_equal(label, given["stage/pseudo_label"][:, 0])


def weights_by_autodiff(forward, rule, state, unlabelled, clean):
    """Differentiate the clean loss by every weight, through the virtual step."""
    logits, _ = forward(state.student, state.state, unlabelled.image, train=True)
    probability = jax.nn.sigmoid(logits)
    pseudo = pseudo_probability(probability, unlabelled, rule) > 0.5
    labels = jnp.stack([unlabelled.label, pseudo], axis=-1)
    told = taught(forward, rule, state.teacher, state.state, unlabelled)
    rate = rule.rate(state.step)

    def clean_loss(weight):
        def virtual_loss(student):
            logits, _ = forward(student, state.state, unlabelled.image, train=True)
            cost = cross_entropy(logits[..., None], labels)
            return (weight * cost).sum() + regularization(logits, told, unlabelled, rule)[0]

        gradient = jax.grad(virtual_loss)(state.student)
        student = jax.tree.map(
            lambda p, m, g: p - rate * (rule.momentum * m + g + rule.weight_decay * p),
            state.student,
            state.momentum,
            gradient,
        )
        logits, _ = forward(student, state.state, clean.image, train=True)
        pixels = cross_entropy(logits, clean.label)
        kept = flat(clean.valid)
        return (pixels * kept).sum() / kept.sum()

    return -jax.jit(jax.grad(clean_loss))(jnp.zeros(labels.shape, logits.dtype)), labels


def weights_of(forward, rule, state, unlabelled, clean):
    """Ask an iteration for its weights: what each adds to the student's step."""
    kept = {}

    def keeping(aligned):
        kept["weight"] = normalized(aligned)
        return kept["weight"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxmeta.learners.mlb_seg.normalized", keeping)
        iterate(forward, rule, state, unlabelled, clean)
    return kept["weight"]


def test_weights_are_the_derivatives_through_the_virtual_step(published):
    """Of the published rule, against its own values too, and of ours."""
    forward, given, state, unlabelled, clean = published
    own = Rule(lambda step: 0.005)
    valid = unlabelled.looks.rows.sum(-1) > 0.999
    valid = valid[..., :, None] & valid[..., None, :]
    for rule, mask in ((PUBLISHED, unlabelled.valid), (own, valid)):
        part = unlabelled._replace(valid=mask)
        through, labels = weights_by_autodiff(forward, rule, state, part, clean)
        expected = normalized(through * flat(mask)[..., None])
        found = weights_of(forward, rule, state, part, clean)
        np.testing.assert_allclose(found, expected, atol=1e-9 * float(expected.max()))
        same = labels[..., 0] == labels[..., 1]
        np.testing.assert_array_equal(found[..., 0][same], found[..., 1][same])
        assert not ((found[..., 0] > 0) & (found[..., 1] > 0))[~same].any()
        assert float(found.sum()) == pytest.approx(1) and (found >= 0).all()
    by_channel = jnp.moveaxis(given["stage/w"], 1, -1)
    found = weights_of(forward, PUBLISHED, state, unlabelled, clean)
    np.testing.assert_allclose(found, by_channel, rtol=1e-8, atol=1e-9 * float(by_channel.max()))


def test_without_any_aligned_pixel_all_weights_are_0():
    assert not normalized(-jnp.ones((2, 3, 3, 2))).any()


def blobs(count, size=24, seed=0):
    """Draw slices with a bright square: images and masks."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    mask = np.stack(
        [(abs(y - a) < 5) & (abs(x - b) < 5) for a, b in rng.integers(7, size - 7, (count, 2))]
    )
    image = mask + 0.3 * rng.normal(size=mask.shape)
    return image.astype(np.float32)[..., None], mask.astype(np.uint8)


def examples(image, mask):
    return Examples(jnp.asarray(image), jnp.asarray(mask), jnp.ones(len(image), bool))


def tiny():
    """A learner of a small network, and a key's batch of blobs."""

    def init(key):
        first, second, third = jax.random.split(key, 3)
        shapes = {"0": (6, 1, 3, 3), "2": (6, 6, 3, 3), "4": (1, 6, 1, 1)}
        student = {}
        for name, shape in shapes.items():
            key = {"0": first, "2": second, "4": third}[name]
            student[f"{name}.weight"] = jax.random.normal(key, shape) / np.sqrt(np.prod(shape[1:]))
            student[f"{name}.bias"] = jnp.zeros(shape[0])
        return student, ()

    forward = small_network("plain")
    rule = Rule(lambda step: 0.05, weight_decay=0.0, clip=1.0)
    return forward, init, rule


def mixed(image, mask, clean, key, sure=None):
    """A batch of one task: clean slices, and others with these labels."""
    query = examples(image, mask)
    query = query if sure is None else query._replace(prompt=jnp.asarray(sure)[..., None])
    task = Task(clean, query, jax.random.key_data(jax.random.key(key)), np.zeros(2, np.int32))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], task)


def test_beyond_a_slice_it_is_as_dark_as_its_darkest_pixel():
    """So another zero of intensities changes nothing, and a frame is never brighter than air."""
    image, mask = blobs(2)
    given = draw_looks(jax.random.key(3), 2, 24)
    nothing = jnp.zeros((10, 24, 24, 1))
    rule = Rule(lambda step: 0.1)
    plain, darker = (
        seen(examples(image + by, mask), given, nothing, rule).image for by in (0.0, -3.0)
    )
    np.testing.assert_allclose(darker, plain - 3.0, atol=1e-5)
    low = np.repeat(np.asarray(image).min((1, 2)).ravel(), 5)[:, None]
    outside = ~np.asarray(shown(given)).reshape(10, -1)
    beyond = np.asarray(plain).reshape(10, -1)
    np.testing.assert_allclose(np.where(outside, beyond, low), low + 0 * beyond, atol=1e-5)
    assert outside.any() and (beyond >= low - 1e-5).all()


def test_flipped_labels_get_hardly_any_weight():
    """One slice of three has its initial labels inverted, while there is something to learn.

    (A student that has learned its clean slices by heart has a clean loss near 0, whose gradient
    says nothing: then the wrong labels, far from what it gives, have the most weight.)
    """
    forward, init, rule = tiny()
    learner = mlb_seg(forward, init, rule)
    state = jax.jit(learner.init)(jax.random.key(0))
    clean = examples(*blobs(2, seed=1))
    image, truth = blobs(3, seed=2)
    wrong = truth.copy()
    wrong[0] = 1 - wrong[0]
    step, shares = jax.jit(learner.step), []
    for number in range(6):
        seen = drawn(examples(image, wrong), jax.random.key(5), rule)
        other = drawn(clean, jax.random.key(6), rule)
        weight = np.asarray(weights_of(forward, rule, state, seen, other))
        shares.append(weight[..., 0].reshape(3, 5, -1).sum((1, 2)))
        state, metrics = step(state, mixed(image, wrong, clean, number))
    assert float(metrics["scalars"]["clean_loss"]) < 0.4
    for share in shares:
        assert share[0] < 0.05 * share[1:].mean()


LESS = [
    dict(),
    dict(weights="uniform"),
    dict(weights="confidence"),
    dict(weights="uniform", labels=("initial",), consistency=False, teacher=False),
    dict(labels=(), consistency=False),
    dict(ensemble=False, labels=("pseudo",)),
    dict(bootstraps=False, consistency=False, teacher=False),
]


@pytest.mark.parametrize("less", LESS, ids=lambda less: " ".join(less) or "all")
def test_with_less_in_it_it_learns_too(less):
    """Ten steps on blobs lower the clean loss, and say what they were made of."""
    forward, init, rule = tiny()
    learner = mlb_seg(forward, init, rule._replace(**less))
    state, step = learner.init(jax.random.key(0)), jax.jit(learner.step)
    clean, (image, truth) = examples(*blobs(2, seed=1)), blobs(3, seed=2)
    losses = []
    for number in range(10):
        batch = mixed(image, truth, clean, number, np.ones(truth.shape, np.float32))
        state, metrics = step(state, batch)
        losses.append(float(metrics["scalars"]["clean_loss"]))
        assert np.isfinite(metrics["per_task"]["loss"]).all()
    assert losses[-1] < losses[0] and int(state.step) == 10 and int(state.weightless) == 0
    scalars = metrics["scalars"]
    assert ("teaching" in scalars) == rule._replace(**less).teacher
    assert ("consistency" in scalars) == rule._replace(**less).consistency
    assert ("meta_loss" in scalars) == (less in (LESS[0], LESS[5]))
    shares = [float(scalars[n]) for n in scalars if n.startswith("weight_")]
    assert not shares or sum(shares) == pytest.approx(1, abs=1e-5)
    if learner.watch:
        shown = jax.eval_shape(learner.watch, state, batch)
        labels = len(rule._replace(**less).labels)
        assert shown["labels"].shape == shown["weight"].shape == (*truth.shape, labels)


def test_weights_by_confidence_are_as_sure_as_each_label():
    """Labels that are not sure at all have no weight, and a student that is not has none either."""
    forward, init, rule = tiny()
    rule = rule._replace(weights="confidence")
    student, state = init(jax.random.key(0))
    given = Bootstrapping(student, state, student, student, jnp.asarray(0), jnp.asarray(0))
    image, truth = blobs(2, seed=2)
    sure = np.zeros(truth.shape, np.float32)
    sure[0] = 1
    batch = examples(image, truth)._replace(prompt=jnp.asarray(sure)[..., None])
    seen = drawn(batch, jax.random.key(1), rule)
    found = np.asarray(weights_of(forward, rule, given, seen, seen))
    initial = found[..., 0].reshape(2, 5, 24, 24)
    shown = np.asarray(seen.valid)
    np.testing.assert_allclose(initial[0][shown[0]], initial.max(), rtol=1e-5)
    assert not initial[1].any() and not initial[~shown].any()
    p = jax.nn.sigmoid(forward(student, state, seen.image, train=True)[0])
    mean = np.asarray(pseudo_probability(p, seen, rule)).reshape(2, 5, 24, 24)
    expected = np.abs(2 * mean - 1) * shown * initial.max()
    np.testing.assert_allclose(found[..., 1].reshape(expected.shape), expected, atol=1e-7)


def test_what_is_watched_is_what_a_step_weighs():
    """Of the slices as they are, whose weights are a part of all looks'."""
    forward, init, rule = tiny()
    learner = mlb_seg(forward, init, rule)
    state, (image, truth) = learner.init(jax.random.key(0)), blobs(2, seed=2)
    batch = mixed(image, truth, examples(*blobs(2, seed=1)), 0)
    shown = jax.jit(learner.watch)(state, batch)
    np.testing.assert_allclose(shown["image"], image[..., 0], atol=1e-6)
    np.testing.assert_array_equal(shown["labels"][..., 0], truth)
    expected = jax.nn.sigmoid(forward(state.student, (), jnp.asarray(image), train=True)[0])
    np.testing.assert_allclose(shown["probability"], expected, atol=1e-5)
    weight = np.asarray(shown["weight"])
    assert weight.shape == (2, 24, 24, 2) and 0 < weight.sum() < 1 and (weight >= 0).all()
    assert mlb_seg(forward, init, rule._replace(bootstraps=False)).watch is None


def test_steps_without_any_weight_are_counted(monkeypatch):
    forward, init, rule = tiny()
    monkeypatch.setattr("jaxmeta.learners.mlb_seg.normalized", lambda kept: 0 * kept)
    learner = mlb_seg(forward, init, rule)
    state, (image, truth) = learner.init(jax.random.key(0)), blobs(2)
    step = jax.jit(learner.step)
    for number in range(3):
        state, metrics = step(state, mixed(image, truth, examples(image, truth), number))
    assert int(metrics["scalars"]["weightless"]) == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_tasks_of_a_batch_are_one_batch():
    """Two tasks of a slice each are a task of two slices."""
    forward, init, rule = tiny()
    learner = mlb_seg(forward, init, rule)
    state = learner.init(jax.random.key(0))
    clean, (image, truth) = examples(*blobs(2, seed=1)), blobs(2, seed=2)
    whole = mixed(image, truth, clean, 0)
    apart = jax.tree.map(lambda leaf: leaf.reshape(2, 1, *leaf.shape[2:]), whole[:2])
    keys = jnp.stack([whole.key[0], whole.key[0] + 1])
    both = Task(*apart, keys, jnp.zeros((2, 2), jnp.int32))
    found = [jax.jit(learner.step)(state, each)[0].student for each in (whole, both)]
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_looks_that_agree_cost_nothing():
    given = draw_looks(jax.random.key(0), 2, 24)
    for published in (False, True):
        nothing = jnp.zeros((2, 5, 24, 24))
        assert pairwise(nothing, given, published=published) == 0
    smooth = jnp.full((2, 5, 24, 24), 0.7)
    assert pairwise(smooth, given) < 1e-10  # without the zeros of the borders
    assert pairwise(smooth, given, published=True) > 1e-3


def test_both_of_a_pair_learn_to_agree_and_as_published_the_first_alone():
    given = draw_looks(jax.random.key(0), 1, 24)
    probability = jax.random.uniform(jax.random.key(1), (1, 5, 24, 24))
    ours, theirs = (
        np.abs(jax.grad(lambda p: pairwise(p, given, published=published))(probability)).sum(
            (0, 2, 3)
        )
        for published in (False, True)
    )
    assert (ours > 0).all() and (theirs[:4] > 0).all() and theirs[4] == 0


def test_the_teacher_begins_as_the_student_and_follows_it_slowly():
    assert [float(decay_at(jnp.asarray(n))) for n in (0, 1, 3)] == [0, 0.5, 0.75]
    assert float(decay_at(jnp.asarray(10_000))) == pytest.approx(0.99)
    moved = followed({"a": jnp.ones(2)}, {"a": jnp.zeros(2)}, 0.75)
    np.testing.assert_array_equal(moved["a"], 0.75)
