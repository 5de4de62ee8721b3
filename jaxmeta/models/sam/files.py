"""Weights on disk: published checkpoints as they are read, converted ones as they are kept.

A converted model is a folder of `weights.npz`, a leaf an entry, and `size.json`, which also says
how its images look. Everything goes leaf by leaf, so that a file needs little more memory than its
largest tensor, and a network as much as it has numbers.
"""

import json
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from jaxmeta.errors import BadInput
from jaxmeta.files import DAMAGED, beside, plain, write_json
from jaxmeta.models.sam.images import PREPROCESSING, Preprocessing
from jaxmeta.models.sam.size import Size
from jaxmeta.models.sam.weights import from_leaves

WEIGHTS, SIZE = "weights.npz", "size.json"
INSIDE = (
    "model",
    "state_dict",
    "model_state_dict",
)  # where training code keeps weights among other things

REMAP = 2**26  # bytes of a file that are read before it is mapped anew

# What PyTorch's reader raises on files that are none of its own, or are cut off.
UNREADABLE = RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError
UNREADABLE += (pickle.UnpicklingError,)


class Checkpoint(NamedTuple):
    """A published file, of which tensors are read when asked for."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a .safetensors file, or a .pth or .pt file of PyTorch (with the extra `convert`).

    Raises BadInput for a file that is cut off, is no checkpoint, or is of another kind.
    """
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file")
    if path.suffix == ".safetensors":
        with opened_safetensors(path) as checkpoint:
            yield checkpoint
    elif path.suffix in (".pth", ".pt"):
        yield opened_pth(path)
    else:
        raise BadInput(f"{path}: give a .pth, .pt or .safetensors file")


@contextmanager
def opened_safetensors(path: Path) -> Iterator[Checkpoint]:
    """Open a .safetensors file."""
    safetensors = needed("safetensors")
    try:
        handle = safetensors.safe_open(path, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise unreadable(path, error) from None

    def read(name: str) -> np.ndarray:
        try:
            return handle.get_tensor(name)
        except (AttributeError, TypeError):  # a kind of number that NumPy has not
            kind = handle.get_slice(name).get_dtype()
            raise BadInput(f"{name} is of {kind}; save its weights as F32 or F16") from None

    with handle:
        shapes = {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}
        yield plain_names(Checkpoint(shapes, read))


def opened_pth(path: Path) -> Checkpoint:
    """Open a file of PyTorch; nothing but tensors is loaded.

    The file is mapped where it can be, which those of PyTorch before 1.6 cannot. What was read of a
    mapping stays in memory until the whole of it is let go, so now and then it is mapped anew.
    """
    mapped = zipfile.is_zipfile(path)
    held, read = tensors_in(path, mapped), 0

    def values(name: str) -> np.ndarray:
        nonlocal held, read
        if mapped and read > REMAP:
            held, read = None, 0
            held = tensors_in(path, mapped)
        found = np.array(held[name].detach().float().numpy())  # a copy, that holds on to nothing
        read += found.nbytes
        return found

    shapes = {name: tuple(value.shape) for name, value in held.items()}
    return plain_names(Checkpoint(shapes, values))


def tensors_in(path: Path, mapped: bool) -> dict:
    """Load the table of tensors that a file of PyTorch holds."""
    torch = needed("torch")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UNREADABLE as error:
        if "weights only load failed" in str(error).lower() and "global" in str(error).lower():
            raise BadInput(
                f"{path}: holds other Python objects beside its weights, and those are not loaded; "
                "save its state_dict alone"
            ) from None
        raise unreadable(path, error) from None
    for name in INSIDE:
        if isinstance(held, dict) and isinstance(held.get(name), dict):
            held = held[name]
    if not isinstance(held, dict) or not all(isinstance(v, torch.Tensor) for v in held.values()):
        raise BadInput(f"{path}: holds no table of tensors, but {type(held).__name__}")
    return held


def plain_names(checkpoint: Checkpoint) -> Checkpoint:
    """Take away what trainers put before every name."""
    for before in ("module.", "model."):
        if checkpoint.shapes and all(name.startswith(before) for name in checkpoint.shapes):
            shapes = {name.removeprefix(before): s for name, s in checkpoint.shapes.items()}
            return Checkpoint(shapes, lambda name, before=before: checkpoint.read(before + name))
    return checkpoint


def needed(package: str):
    """Import what only conversion needs."""
    try:
        return __import__(package)
    except ImportError:
        raise BadInput(
            f'{package} is not installed: pip install ".[convert]" in the checkout'
        ) from None


def unreadable(path: Path, error: Exception) -> BadInput:
    """Say that a file is no whole checkpoint."""
    why = str(error).strip().split("\n")[0][:160]
    return BadInput(
        f"{path}: cut off, or not a checkpoint of tensors ({why}); download it again and compare "
        "its size"
    )


def write_weights(
    folder: Path,
    size: Size,
    found: Iterable[tuple[tuple[str, ...], np.ndarray]],
    *,
    preprocessing: str = "sam",
) -> None:
    """Write a converted model, leaf by leaf; `size.json`, written last, says that it is whole.

    `preprocessing` names one of PREPROCESSING: how its images must be shown.
    """
    new = not folder.exists()
    try:
        with beside(folder / WEIGHTS) as part, zipfile.ZipFile(part, "w") as archive:
            for names, value in found:
                with archive.open("/".join(names) + ".npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, value)
        write_size(folder, size, preprocessing)
    except BaseException:
        if new and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        raise


def write_size(folder: Path, size: Size, preprocessing: str = "sam") -> None:
    """Write what a converted model is."""
    write_json(folder / SIZE, plain(size) | {"preprocessing": preprocessing})


def read_size(folder: Path) -> Size:
    """Read the size of a converted model; raises BadInput where there is none."""
    return described_model(folder)[0]


def read_preprocessing(folder: Path) -> Preprocessing:
    """Read how a converted model must be shown images."""
    return described_model(folder)[1]


def described_model(folder: Path) -> tuple[Size, Preprocessing]:
    """Read what a converted model is."""
    path = folder / SIZE
    if not path.is_file():
        raise BadInput(
            f"{folder}: no converted weights; `jaxmeta convert-sam` CHECKPOINT `output={folder}`"
        )
    try:
        values = json.loads(path.read_text("utf-8"))
        preprocessing = PREPROCESSING[values.pop("preprocessing")]
        return Size(**values | {"whole": tuple(values["whole"])}), preprocessing
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged(path) from None


def read_weights(folder: Path) -> PyTree:
    """Read a converted model's variables."""
    read_size(folder)
    path = folder / WEIGHTS
    try:
        with np.load(path) as archive:
            return from_leaves((tuple(name.split("/")), archive[name]) for name in archive.files)
    except DAMAGED:
        raise damaged(path) from None


def damaged(path: Path) -> BadInput:
    """Say that a converted model is not as it was written."""
    return BadInput(
        f"{path}: cut off, or not what `jaxmeta convert-sam` writes; remove {path.parent}, and "
        "convert again"
    )
