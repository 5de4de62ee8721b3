"""Preparation is restartable, survives a kill, and ends bad input in one line with nothing lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxmeta.data.cases import Case
from jaxmeta.data.shards.load import load_images
from jaxmeta.data.shards.parts import plan
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from tests.helpers.scans import anatomy, contents, decathlon, save

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_done_and_unchanged_is_skipped(tmp_path):
    folder = decathlon(tmp_path / "belly", 3)
    out = tmp_path / "out"
    prepare([folder], out, workers=1, part_bytes=1)
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.array_record")}
    assert prepare([folder], out, workers=1, part_bytes=1).reused == 3
    assert before == {file: file.stat().st_mtime_ns for file in out.glob("*.array_record")}
    save(folder / "imagesTr/case1.nii.gz", anatomy(seed=77)[0])
    assert prepare([folder], out, workers=1, part_bytes=1).reused == 2
    after = {file: file.stat().st_mtime_ns for file in out.glob("*.array_record")}
    assert len(after) == 3 and len(before.items() & after.items()) == 2
    prepare([folder], tmp_path / "fresh", workers=1, part_bytes=1)
    assert contents(out) == contents(tmp_path / "fresh")
    for shard in out.glob("*.array_record"):  # a damaged copy is made again
        shard.write_bytes(shard.read_bytes()[:-1])
    assert prepare([folder], out, workers=1, part_bytes=1).reused == 0
    assert contents(out) == contents(tmp_path / "fresh")


def test_one_case_more_changes_the_parts_about_it_only(tmp_path):
    rng = np.random.default_rng(0)
    cases = [sized(tmp_path, f"{n:03d}", int(rng.integers(1, 400))) for n in range(200)]
    parts = plan(cases, 2000)
    assert [case for part in parts for case in part.cases] == cases
    assert max(sum(case.image.stat().st_size for case in part.cases) for part in parts) <= 2000
    assert 20 < len(parts) < 100
    for place in range(0, 200, 20):
        more = [*cases[:place], sized(tmp_path, f"{place:03d}_more", 200), *cases[place:]]
        assert len(set(plan(more, 2000)) - set(parts)) <= 4


def sized(folder, name, size):
    """A case of which only the name and the size of its image matter."""
    (folder / name).write_bytes(bytes(size))
    return Case(f"a/{name}", "a/p", "a", "mr", folder / name, folder / name, None)


def test_data_sets_that_are_no_longer_there_are_told(tmp_path):
    one, other = (decathlon(tmp_path / name, 2) for name in ("one", "other"))
    out = tmp_path / "out"
    prepare([one], out, workers=1)
    summary = prepare([other], out, workers=1)
    assert any("no longer there" in note and "one: 2 volumes" in note for note in summary.notes)
    assert not prepare([other], out, workers=1).notes


def test_a_failing_run_leaves_the_older_shards_readable(tmp_path):
    folder = decathlon(tmp_path / "belly", 2)
    prepare([folder], tmp_path / "out", workers=1)
    save(folder / "labelsTr/case1.nii.gz", np.full((18, 24, 9), 0.5, np.float32))
    with pytest.raises(BadInput, match=r"case1.nii.gz.*holds 0.5"):
        prepare([folder], tmp_path / "out", workers=1)
    assert load_images(open_shards([tmp_path / "out"]), 1, [0], size=8).shape == (1, 8, 8, 1)
    assert not list((tmp_path / "out").glob(".*"))


def test_bad_cases_are_left_out_on_request_and_listed(tmp_path):
    folder = decathlon(tmp_path / "belly", 4)
    (folder / "labelsTr/case0.nii.gz").unlink()
    (folder / "imagesTr/case1.nii.gz").write_bytes(b"junk")
    save(folder / "labelsTr/case2.nii.gz", np.zeros((9, 24, 9), np.uint8))
    with pytest.raises(BadInput, match="case0.nii.gz.*`skip_bad`"):
        prepare([folder], tmp_path / "out", workers=1)
    summary = prepare([folder], tmp_path / "out", workers=1, skip_bad=True)
    assert [case for case, _ in summary.skipped] == ["belly/case0", "belly/case1", "belly/case2"]
    assert "not there" in summary.skipped[0][1] and "not a gzip" in summary.skipped[1][1]
    assert summary.datasets["belly"].volumes == 1
    assert [v.name for v in open_shards([tmp_path / "out"]).volumes] == ["belly/case3"]
    assert prepare([folder], tmp_path / "out", workers=1, skip_bad=True).skipped == summary.skipped
    decathlon(
        folder, {"case0": anatomy(), "case1": anatomy(), "case2": anatomy(), "case3": anatomy()}
    )
    assert prepare([folder], tmp_path / "out", workers=1).skipped == []


def test_a_bad_case_in_a_finished_part_is_still_refused_without_skip_bad(tmp_path):
    folder = decathlon(tmp_path / "belly", 2)
    (folder / "imagesTr/case1.nii.gz").write_bytes(b"junk")
    prepare([folder], tmp_path / "out", workers=1, skip_bad=True)
    with pytest.raises(BadInput, match="case1.nii.gz: is not a gzip"):
        prepare([folder], tmp_path / "out", workers=1)


def test_no_structure_at_all_is_refused(tmp_path):
    image, label = anatomy()
    empty = decathlon(tmp_path / "empty", {"a": (image, 0 * label)})
    with pytest.raises(BadInput, match="empty: no structure at all, every label is empty"):
        prepare([empty], tmp_path / "out", workers=1)
    other = decathlon(tmp_path / "other", {"a": (image, label)}, names=())
    with pytest.raises(BadInput, match="other: no structure at all.*without a name: 1, 2"):
        prepare([other], tmp_path / "out", workers=1, labels=["other/*:9=cord"])
    assert not (tmp_path / "out/index.json").exists()


def test_values_without_a_name_are_left_out_and_told(tmp_path):
    folder = decathlon(tmp_path / "belly", {"a": anatomy(values=(1, 5))}, names=("liver",))
    summary = prepare([folder], tmp_path / "out", workers=1)
    assert summary.notes == ["belly: label values without a name were left out: 5"]
    assert summary.datasets["belly"].structures == {"liver": 1}


def test_nan_voxels_are_refused_or_filled(tmp_path):
    image, label = anatomy()
    image = image.astype(np.float32)
    image[2, 2, 2] = np.nan
    folder = decathlon(tmp_path / "belly", {"a": (image, label)})
    with pytest.raises(BadInput, match="1 voxels are NaN or Inf"):
        prepare([folder], tmp_path / "out", workers=1)
    prepare([folder], tmp_path / "out", workers=1, fill_nan=0.0)
    assert np.isfinite(load_images(open_shards([tmp_path / "out"]), 0, range(9), size=16)).all()


@pytest.mark.parametrize(
    "told",
    [
        {"axis": "oblique"},
        {"size": 0},
        {"spacing": -1.0},
        {"workers": 0},
        {"fill_nan": float("nan")},
    ],
)
def test_impossible_options_are_refused(cohort, tmp_path, told):
    with pytest.raises(BadInput, match=f"`{next(iter(told))}="):
        prepare(cohort, tmp_path, **told)


def command(*words) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "experiments.prepare_data", *map(str, words)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_prepares_and_tells(cohort, tmp_path):
    done = command(
        "--input", *cohort, "--output", tmp_path / "out", "--size", "32", "--workers", "1"
    )
    assert done.returncode == 0, done.stderr
    assert "belly: 5 patients, 5 volumes, 45 slices" in done.stdout
    assert "9 volumes in" in done.stdout and done.stderr == ""
    assert open_shards([tmp_path / "out"]).defaults == (32, None, "acquired")


def test_the_command_ends_bad_input_with_one_line_and_code_2(tmp_path):
    folder = decathlon(tmp_path / "belly", 2, modality=None)
    done = command("--input", folder, "--output", tmp_path / "out")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "--modality" in done.stderr and not (tmp_path / "out").exists()


KILLED = """
import time
from jaxmeta.data.shards import prepare as module, records

class SlowWriter:  # so that the kill finds it in the middle of a file
    def __init__(self, *told):
        self.writer = Writer(*told)
    def write(self, record):
        time.sleep(0.01)
        self.writer.write(record)
    def close(self):
        self.writer.close()

if __name__ == "__main__":
    Writer, records.ArrayRecordWriter = records.ArrayRecordWriter, SlowWriter
    wait = lambda done, total: time.sleep(0.1)
    module.prepare({folders}, {output}, workers={workers}, part_bytes=1, progress=wait)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_preparation_is_completed_to_the_same_bytes(cohort, tmp_path, workers):
    """SIGKILL while parts are being written; a rerun skips what is whole and makes the rest."""
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    folders = [str(folder) for folder in cohort]
    code = KILLED.format(folders=folders, output=repr(str(out)), workers=workers)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if len(list(out.glob("*.json"))) >= 2 and (workers > 1 or list(out.glob(".*.partial"))):
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "index.json").exists(), "killed too late to show anything"
    if workers == 1:
        assert list(out.glob(".*.partial")), "killed between two files"
    with pytest.raises(BadInput, match="unfinished"):
        open_shards([out])
    assert prepare(cohort, out, part_bytes=1, workers=1).reused >= 2
    prepare(cohort, undisturbed, part_bytes=1, workers=1)
    assert contents(out) == contents(undisturbed)
