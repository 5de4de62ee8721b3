"""Converting published checkpoints: all of a file or nothing, and refusals that say what it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxmeta.commands import command
from jaxmeta.commands.convert_sam import main
from jaxmeta.errors import BadInput
from jaxmeta.models.sam import SIZES
from jaxmeta.models.sam.files import SIZE, WEIGHTS, read_preprocessing, read_size, read_weights
from jaxmeta.models.sam.images import PREPROCESSING
from jaxmeta.models.sam.weights import leaves, recognized, tensors
from tests.helpers.sizes import SMALL, golden

numpy_files = pytest.importorskip("safetensors.numpy")
ROOT = Path(__file__).resolve().parents[2]


def small_tensors():
    rng = np.random.default_rng(0)
    return {t.name: rng.normal(size=t.shape).astype(np.float32) for t in tensors(SMALL).values()}


def converting(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["convert_sam", *map(str, words)])
    command.run(main)


@pytest.fixture
def refused(monkeypatch, tmp_path, capsys):
    """Convert what must be refused: exit code 2, one line, nothing written."""

    def convert(path, *words):
        with pytest.raises(SystemExit) as stop:
            converting(monkeypatch, path, "--output", tmp_path / "out", *words)
        told = capsys.readouterr()
        assert stop.value.code == 2 and told.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return told.err

    return convert


@pytest.fixture
def file(tmp_path):
    def write(values, name="sam.safetensors"):
        numpy_files.save_file(values, tmp_path / name)
        return tmp_path / name

    return write


def same(tree, values):
    wanted = dict(leaves(values.__getitem__, SMALL))
    found = {names: tree for names, tree in walked(tree)}
    assert found.keys() == wanted.keys()
    for names, value in found.items():
        np.testing.assert_array_equal(value, wanted[names])


def walked(tree, names=()):
    for name, value in tree.items():
        yield from (
            walked(value, (*names, name)) if isinstance(value, dict) else [((*names, name), value)]
        )


def test_a_file_that_fits_is_converted_and_read_back(monkeypatch, tmp_path, file, capsys):
    values, out = small_tensors(), tmp_path / "out"
    converting(monkeypatch, file(values), "--output", out)
    assert (
        f"{len(values)} tensors match\n0 missing\n0 unexpected\n0 misshapen"
        in capsys.readouterr().out
    )
    assert read_size(out) == SMALL
    same(read_weights(out), values)
    assert sorted(p.name for p in out.iterdir()) == ["size.json", "weights.npz"]
    with pytest.raises(SystemExit):
        converting(monkeypatch, file(values), "--output", out)
    assert "holds converted weights: remove it" in capsys.readouterr().err


def test_how_its_images_look_is_kept_and_every_tensor_can_be_named(
    monkeypatch, tmp_path, file, capsys
):
    values, out = small_tensors(), tmp_path / "out"
    converting(monkeypatch, file(values), "--output", out, "--preprocessing", "medsam", "--names")
    told = capsys.readouterr().out
    assert all(f"match      {name}\n" in told for name in values)
    assert read_preprocessing(out) == PREPROCESSING["medsam"] and read_size(out) == SMALL


@pytest.mark.parametrize("name", [WEIGHTS, SIZE])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_converted_weights_that_were_damaged_are_told_so(monkeypatch, tmp_path, file, name, share):
    out = tmp_path / "out"
    converting(monkeypatch, file(small_tensors()), "--output", out)
    whole = (out / name).read_bytes()
    (out / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadInput, match=f"{name}: cut off, or not what `jaxmeta convert-sam`"):
        read_weights(out)


def test_numbers_that_are_none_are_refused_and_nothing_is_left(refused, file):
    values = small_tensors()
    values["mask_decoder.iou_token.weight"][0, 3] = np.nan
    told = refused(file(values))
    assert "sam.safetensors: mask_decoder.iou_token.weight holds numbers that are NaN" in told


def test_where_windows_are_as_large_as_the_image_every_block_sees_all_of_it():
    size = SIZES["vit-b"]._replace(image=224)
    found = recognized({tensor.name: tensor.shape for tensor in tensors(size).values()})
    assert found == size._replace(whole=tuple(range(12)))


@pytest.mark.parametrize("wrapped, before", [(False, ""), (True, "model."), (True, "module.")])
def test_pytorch_s_files_are_read_too(monkeypatch, tmp_path, wrapped, before):
    torch = pytest.importorskip("torch")
    values = small_tensors()
    made = torch.nn.Parameter if wrapped else torch.Tensor
    held = {before + name: made(torch.tensor(value)) for name, value in values.items()}
    torch.save({"model": held, "epoch": 3} if wrapped else held, tmp_path / "sam.pth")
    converting(monkeypatch, tmp_path / "sam.pth", "--output", tmp_path / "out")
    same(read_weights(tmp_path / "out"), values)


def test_a_file_of_code_is_not_run(tmp_path, refused):
    torch = pytest.importorskip("torch")
    torch.save({"a": Path("x")}, tmp_path / "evil.pth")
    assert "holds other Python objects beside its weights" in refused(tmp_path / "evil.pth")


def test_a_file_that_was_cut_off_is_told_so(refused, file):
    path = file(small_tensors())
    path.write_bytes(path.read_bytes()[:9999])
    assert f"{path}: cut off, or not a checkpoint" in refused(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_of_pytorch_that_was_cut_off_is_told_so(tmp_path, refused, share):
    torch = pytest.importorskip("torch")
    path = tmp_path / "sam.pth"
    torch.save({name: torch.tensor(value) for name, value in small_tensors().items()}, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert f"{path}: cut off, or not a checkpoint" in refused(path)


@pytest.mark.parametrize("content", [b"hello world" * 100, b"<html>not found</html>", b"\x80\x02"])
def test_what_is_no_file_of_pytorch_is_told_so(tmp_path, refused, content):
    pytest.importorskip("torch")
    (tmp_path / "sam.pth").write_bytes(content)
    assert "cut off, or not a checkpoint" in refused(tmp_path / "sam.pth")


def test_another_size_than_asked_for_is_named(refused, file):
    told = refused(file(small_tensors()), "--size", "vit-b")
    assert "is a size of its own (2 blocks of width 8" in told and "not vit-b (12 blocks" in told


def test_missing_and_additional_tensors_are_counted(refused, file):
    values = small_tensors()
    del values["mask_decoder.iou_token.weight"]
    told = refused(file(values | {"more": np.zeros(3, np.float32)}))
    assert "1 tensors missing, 1 unexpected, 0 of another shape" in told


def test_adapter_models_are_refused_by_name(refused, file):
    name = "image_encoder.blocks.0.Adapter.channel.0.weight"
    assert "SAM-Med2D" in refused(file(small_tensors() | {name: np.zeros(3, np.float32)}))


@pytest.mark.parametrize("name, what", [("a.npz", "give a .pth"), ("b.pth", "there is no such")])
def test_files_of_other_kinds_are_refused(tmp_path, refused, name, what):
    if name.startswith("a"):
        (tmp_path / name).write_bytes(b"x")
    assert what in refused(tmp_path / name)


def test_any_other_model_is_refused_with_what_it_holds(refused, file):
    told = refused(file({"conv1.weight": np.zeros((3, 3), np.float32)}))
    assert "not a Segment Anything model" in told and "conv1.weight" in told


# The peak is read from the process's own memory: `ru_maxrss` survives exec, so that a child begins
# with what the parent held.
MEASURED = """
from jaxmeta.commands import command
from jaxmeta.commands.convert_sam import main
command.run(main)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("peak", status["VmHWM"].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
@pytest.mark.parametrize(
    "name, kind",
    [
        ("vit-b", "safetensors"),
        ("vit-l", "safetensors"),
        ("vit-h", "safetensors"),
        ("vit-b", "pth"),
    ],
)
def test_full_size_files_convert_in_less_memory_than_twice_the_file(tmp_path, name, kind):
    shapes = json.loads(golden("sam_checkpoint_shapes.json").read_text())[name.replace("-", "_")]
    rng = np.random.default_rng(0)
    values = {key: rng.random(shape, np.float32) for key, shape in shapes.items()}
    path, out = tmp_path / f"sam.{kind}", tmp_path / "out"
    if kind == "pth":
        torch = pytest.importorskip("torch")
        torch.save({key: torch.from_numpy(value) for key, value in values.items()}, path)
    else:
        numpy_files.save_file(values, path)
    words = [path, "--output", out, "--size", name]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(shapes)} tensors match\n0 missing" in done.stdout
    peak = int(done.stdout.split("peak ")[1]) * 1024
    print(f"{name}: file {path.stat().st_size / 2**20:.0f} MiB, peak {peak / 2**20:.0f} MiB")
    assert peak < 2 * path.stat().st_size
    path.unlink()
    with np.load(out / "weights.npz") as archive:  # entry by entry
        for names, wanted in leaves(values.__getitem__, SIZES[name]):
            np.testing.assert_array_equal(archive["/".join(names)], wanted)
