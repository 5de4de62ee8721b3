"""Shards lie at gs:// as they lie on a disk: here in a file system that is memory alone."""

import dataclasses

import fsspec
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from jaxmeta import files
from jaxmeta.commands.train import parse
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.runs import config_file
from jaxmeta.runs.config import to_json
from jaxmeta.runs.train import meta_train
from jaxmeta.training.metrics_log import read_metrics
from tests.helpers.scans import contents, decathlon


class Bucket(MemoryFileSystem):
    """What answers to gs:// in these tests."""

    protocol = ("gs", "gcs")
    store = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs://"))


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """Give a folder elsewhere, and let copies of its files lie in this test's own."""
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(files, "gettempdir", lambda: str(tmp_path / "copies"))
    return epath.Path("gs://bucket/folder")


def read_all(folder):
    return {name: files.read_bytes(folder / name) for name in files.listing(folder)}


def test_preparing_writes_there_what_it_writes_here(bucket, tmp_path):
    belly = decathlon(tmp_path / "belly", 3)
    prepare([belly], tmp_path / "here", workers=1, part_bytes=1)
    prepare([belly], bucket, workers=1, part_bytes=1)
    assert read_all(bucket) == contents(tmp_path / "here")
    assert prepare([belly], bucket, workers=1, part_bytes=1).reused == 3
    assert prepare([belly], bucket, workers=1).reused == 0  # other parts: the old ones are removed
    prepare([belly], tmp_path / "here", workers=1)
    assert read_all(bucket) == contents(tmp_path / "here")


def test_a_run_learns_from_there_what_it_learns_from_here(bucket, config, run, tmp_path):
    for name, data in contents(config.data[0]).items():
        (bucket / name).write_bytes(data)
    there = dataclasses.replace(config, data=(bucket,), workdir=tmp_path / "run")
    assert meta_train(there)
    logs = (read_metrics(folder / "metrics.jsonl") for folder in (tmp_path / "run", run))
    losses, theirs = ([line["loss"] for line in log if "loss" in line] for log in logs)
    assert losses and losses == theirs
    assert config_file.read_run(tmp_path / "run")[0].data == (bucket,)


def test_where_it_lies_survives_the_command_line_and_the_configuration(config):
    _, read = parse(["maml", "--data", "gs://bucket/folder", "here"])
    assert list(map(str, read.data)) == ["gs://bucket/folder", "here"]
    there = dataclasses.replace(config, data=(epath.Path("gs://bucket/folder"),))
    assert to_json(there)["data"] == ["gs://bucket/folder"]


def test_a_copy_is_made_once_and_again_when_the_file_has_changed(bucket):
    file = bucket / "a.txt"
    with pytest.raises(FileNotFoundError):
        files.local(file)
    files.write_text(file, "one")
    copy = files.local(file)
    assert (files.read_text(copy), files.local(file)) == ("one", copy)
    files.write_text(file, "three")
    assert files.read_text(files.local(file)) == "three"
    with pytest.raises(RuntimeError), files.beside(file) as part:
        part.write_text("half of the n")
        raise RuntimeError
    assert files.read_text(file) == "three"


def test_a_folder_that_is_none_is_told_by_its_whole_name(bucket):
    with pytest.raises(BadInput, match="gs://bucket/folder: not a folder of shards"):
        open_shards([bucket])


def test_what_is_not_installed_is_told_in_one_line(monkeypatch):
    def absent(*told, **more):
        raise ImportError("Install gcsfs to access GCS")

    monkeypatch.setattr(fsspec, "filesystem", absent)
    epath.backend.fsspec_backend._get_filesystem.cache_clear()
    with pytest.raises(BadInput, match="^gs://bucket/folder/index.json: Install gcsfs"):
        open_shards(["gs://bucket/folder"])
