"""Time Segment Anything's image encoder against the same network in PyTorch, and SSM-SAM on top of
it."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.algorithms import Algorithm, Meta, ssm_sam
from jaxmeta.algorithms.ssm_sam import Online
from jaxmeta.models.sam import SIZES, Size, sam
from jaxmeta.models.sam.adapters import high_pass
from jaxmeta.models.ssm_sam import self_sampling
from jaxmeta.parallel import devices
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.task import Examples, Task
from jaxmeta.training.loop import cost


def encode(size: str, image: int, repeat: int) -> dict:
    """Time one forward pass of the encoder of one image; where torch is installed its own, with
    plain and with fused attention, and the largest difference."""
    size = sized(size, image)
    network = sam(size)
    variables = devices.jit(network.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(1, size.image, size.image, 3)).astype(np.float32)
    encode = devices.jit(network.encode)
    found = dict(encode_s=median(partial(encode, variables, pixels), repeat))
    try:
        from experiments.benchmarks.sam_in_torch import encoder_of
    except ImportError:
        return found | dict(torch="not installed")
    ours = np.asarray(encode(variables, pixels))
    apart = 0.0
    for name, fused in (("torch", False), ("torch_fused", True)):
        theirs = encoder_of(size, variables["image_encoder"], fused=fused)
        found[f"{name}_s"] = median(partial(theirs, pixels), repeat)
        found[f"{name}_ratio"] = found["encode_s"] / found[f"{name}_s"]
        apart = max(apart, float(np.abs(ours - theirs(pixels)).max()))
    return found | dict(largest_difference=apart)


def adaptation(size: str, image: int, steps: int, chunk: int, repeat: int) -> dict:
    """Time what SSM-SAM does with one new slice, and with a chunk under it; its memory as
    compiled."""
    size = sized(size, image)
    algorithm = learner(size, chunk, online=Online(steps))
    meta, support = begun(size, algorithm), examples(size, 1)
    adapt = devices.jit(algorithm.adapt).lower(meta, support, jax.random.key(0)).compile()
    predict = devices.jit(algorithm.predict)
    phi = adapt(meta, support, jax.random.key(0))
    chunked = examples(size, chunk).image
    return dict(
        adapt_s=median(lambda: adapt(meta, support, jax.random.key(1)), repeat),
        chunk_s=median(lambda: predict(meta, phi, chunked), repeat),
        arguments_mib=adapt.memory_analysis().argument_size_in_bytes / 2**20,
        **cost(adapt),
    )


def step(
    size: str,
    image: int,
    organs: int,
    shots: int,
    queries: int,
    passes: int,
    chunk: int,
    repeat: int,
) -> dict:
    """Time a first-order meta-step of SSM-SAM over some organs, but for augmentation and the outer
    rule."""
    size = sized(size, image)
    algorithm = learner(size, chunk, passes=passes)
    meta = begun(size, algorithm)
    told = [
        examples(size, chunk * count)._replace(prompt=examples(size, chunk * count).mask)
        for count in (shots, queries)
    ]
    tasks = Task(*told, np.zeros(2, np.uint32), np.zeros(2, np.int32))
    tasks = jax.tree.map(lambda a: np.repeat(np.asarray(a)[None], organs, axis=0), tasks)
    mesh = devices.task_mesh(organs)
    outer = devices.jit(over_tasks(algorithm.outer, mesh=mesh))
    placed, shared = devices.place(tasks, mesh), devices.replicate(meta, mesh)
    began = time.perf_counter()
    compiled = outer.lower(shared, placed).compile()
    return dict(
        compile_s=time.perf_counter() - began,
        step_s=median(lambda: compiled(shared, placed), repeat),
        **cost(compiled),
    )


def sized(name: str, image: int) -> Size:
    """Take a size by name, for images of this side."""
    size = SIZES[name]
    return size._replace(image=image or size.image)


def learner(size: Size, chunk: int, **how) -> Algorithm:
    """Make SSM-SAM with the published adapters."""
    return ssm_sam(self_sampling(size, high_pass(size)), chunk=chunk, **how)


def begun(size: Size, algorithm: Algorithm) -> Meta:
    """Draw all its weights."""
    backbone = devices.jit(lambda key: sam(size).parts.init(key))(jax.random.key(0))
    meta = devices.jit(algorithm.init)(jax.random.key(1))
    return meta._replace(backbone={"image_encoder": backbone})


def examples(size: Size, count: int) -> Examples:
    """Draw slices with a disc each."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(count, size.image, size.image, 1)), jnp.float32)
    y, x = np.mgrid[: size.image, : size.image] / size.image - 0.5
    mask = jnp.asarray(np.broadcast_to(x**2 + y**2 < 0.02, image.shape[:3]).astype(np.uint8))
    return Examples(image, mask, jnp.ones(count, bool))


def median(function: Callable, repeat: int) -> float:
    """Run a function once, then time it."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
