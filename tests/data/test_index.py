"""Rows of the index are typed, come back as they were, and their keys are one file's matter."""

import ast
import json

import numpy as np
import pytest

from jaxmeta.data.grid import Grid
from jaxmeta.data.intensity import Intensity
from jaxmeta.data.placement import Note
from jaxmeta.data.scan import Scale
from jaxmeta.data.shards import index
from jaxmeta.data.shards.index import Held, Index, IndexRow, PartIndex, read_part, write_part
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.records import RecordFile
from jaxmeta.errors import BadInput
from tests.helpers.scans import contents
from tests.test_layout import MODULES

ROW = IndexRow(
    name="d/a",
    patient="d/p",
    dataset="d",
    modality="ct",
    channel=None,
    grid=Grid((2, 3, 4), np.arange(16.0).reshape(4, 4) / 3, b"header", "axial"),
    intensity=Intensity(-160.0, 240.0, 40.0, 1 / 3),
    dtype="<i2",
    scale=Scale(0.1, -1024.0),
    image=7,
    structures={"liver": Held(1, 11, (5, 0, 2)), "spleen": Held(0, 13, ())},
    unnamed=(4, 9),
    fingerprint="f",
    mask_digests={"liver": "m"},
)
KEYS = (
    "name patient dataset modality channel grid intensity dtype slope intercept image structures "
    "unnamed fingerprint mask_digests"
).split()


def same(one: IndexRow, other: IndexRow) -> bool:
    mine, theirs = (row._replace(grid=row.grid._replace(affine=None)) for row in (one, other))
    return mine == theirs and np.array_equal(one.grid.affine, other.grid.affine)


def test_a_part_comes_back_as_it_was_written(tmp_path):
    full = ROW._replace(
        channel="T1",
        grid=ROW.grid._replace(order=((2, 0, 1), (True, False, True))),
        supervoxels={"supervoxel_1": Held(0, 20, (3,))},
        notes=(Note("tilt", "a.nii: its axes are"),),
    )
    part = PartIndex((RecordFile("p.0.array_record", 0, 99),), (ROW, full), (("d/b", "why"),))
    write_part(tmp_path, "p", part)
    found = read_part(tmp_path, "p")
    assert (found.files, found.skipped) == (part.files, part.skipped)
    assert all(same(*both) for both in zip(found.volumes, part.volumes, strict=True))
    plain, more = json.loads((tmp_path / "p.json").read_bytes())["volumes"]
    assert list(plain) == KEYS and list(more) == [*KEYS, "pseudo", "notes"]
    assert plain["structures"] == {"liver": [1, 11, [5, 0, 2]], "spleen": [0, 13, []]}
    before = contents(tmp_path)
    write_part(tmp_path, "p", found)
    assert contents(tmp_path) == before


def test_the_index_comes_back_and_says_its_format(tmp_path):
    told = Index(64, 1.5, "acquired", ("a-1", "b-2"))
    index.write_index(tmp_path, told)
    assert index.read_index(tmp_path) == told
    written = json.loads((tmp_path / "index.json").read_bytes())
    assert list(written) == ["format", "size", "spacing", "axis", "parts"]
    with pytest.raises(BadInput, match="p.json: is in the index but not there"):
        read_part(tmp_path, "p")
    assert index.volumes_before(tmp_path, ()) == set() == index.volumes_before(tmp_path / "x", ())


def test_the_volumes_of_an_older_format_are_known_by_name(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps({"format": 0, "parts": ["a", "b"]}))
    for part in "ab":
        row = {"volumes": [{"name": f"d/{part}", "other": 1}]}
        (tmp_path / f"{part}.json").write_text(json.dumps(row))
    assert index.volumes_before(tmp_path, ["a"]) == {"d/b"}


def test_rows_of_a_preparation_are_of_this_type(cohort, tmp_path):
    prepare(cohort, tmp_path, workers=1, supervoxels=9)
    (belly, *_), before = index.read_index(tmp_path).parts, contents(tmp_path)
    part = read_part(tmp_path, belly)
    row = part.volumes[0]
    assert row.name == "belly/case0" and row.supervoxels
    assert isinstance(row.structures["liver"], Held)
    write_part(tmp_path, belly, part)
    assert contents(tmp_path) == before


def test_keys_of_the_index_are_known_to_one_file():
    keys = {"structures", "mask_digests", "unnamed", "pseudo", "volumes", "skipped", "parts"}
    for name, path in MODULES.items():
        if not name.startswith("jaxmeta.data.shards") or name == "jaxmeta.data.shards.index":
            continue
        nodes = ast.walk(ast.parse(path.read_text()))
        places = [node.slice for node in nodes if isinstance(node, ast.Subscript)]
        known = {place.value for place in places if isinstance(place, ast.Constant)}
        assert not known & keys, f"{name} reads {known & keys} of the index by its key"
