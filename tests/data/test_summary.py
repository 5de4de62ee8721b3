"""prepare_data says how slices lie, and warns of what nobody means."""

import pytest

from jaxmeta.data.grid import grid_by
from jaxmeta.data.orientation import ACQUIRED
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.summary import cut_of, doubtful
from tests.data.test_orientation import TURNS, turned
from tests.helpers.scans import anatomy, oriented, save


def grid(rule=ACQUIRED, codes="RAS", shape=(20, 24, 13), zooms=(1.25, 1.25, 8.0), turn="axial"):
    return grid_by(rule, shape, turned(oriented(codes, shape, zooms), TURNS[turn]), b"")


def test_a_short_axis_stack_cut_axially_is_warned_of_and_as_acquired_it_is_not():
    stack = {"heart/a": grid("axial", turn="coronal"), "heart/b": grid("axial", turn="coronal")}
    (note,) = doubtful(stack, "axial")
    assert "2 of 2 volumes (a, b) are cut across their slices: pixels of 1.25 x 8 mm" in note
    assert "leave `axis` out" in note
    stack = {"heart/a": grid(turn="coronal"), "heart/b": grid(turn="coronal", codes="LPS")}
    assert doubtful(stack, ACQUIRED) == []
    told = cut_of(list(stack.values()), ACQUIRED)
    assert told.startswith("coronal slices (as acquired): 13 a volume, 8 mm apart, of 20 x 24 ")


def test_volumes_unlike_the_others_of_their_data_set_are_named():
    grids = {f"d/{n}": grid() for n in "abc"} | {"d/x": grid(turn="sagittal")}
    (note,) = doubtful(grids, ACQUIRED)
    assert "volumes differ: 1 of 4 volumes (x) are sagittal, the others axial" in note
    grids = {"d/a": grid(), "d/b": grid(zooms=(2.6, 2.6, 8.0))}
    assert doubtful(grids, ACQUIRED) == [
        "volumes differ: pixels are 1.25 mm wide in d/a, 2.6 in d/b"
    ]
    assert doubtful({"d/a": grid(), "d/b": grid(zooms=(1.25, 1.25, 15.0))}, ACQUIRED) == []


@pytest.mark.parametrize("rule", [ACQUIRED, "sagittal"])
def test_the_summary_of_a_preparation_tells_axis_size_slices_and_spacing(tmp_path, rule):
    image, label = anatomy()
    save(tmp_path / "in/a.nii.gz", image, oriented("RAS"))
    save(tmp_path / "in/a_seg.nii.gz", label, oriented("RAS"))
    how = dict(modality=["mr"], axis=rule, workers=1)
    summary = prepare([tmp_path / "in"], tmp_path / "out", **how)
    (counts,) = summary.datasets.values()
    if rule == ACQUIRED:
        assert counts.cut == (
            "axial slices (as acquired): 9 a volume, 4 mm apart, of 18 x 24 pixels of 1.5 x 1.25 mm"
        )
        assert summary.notes == []
    else:
        assert counts.cut == (
            "sagittal slices (`axis=sagittal`): 18 a volume, 1.5 mm apart, of 24 x 9 pixels of "
            "1.25 x 4 mm"
        )
        assert "cut across their slices" in summary.notes[0]  # 4 / 1.25 is above 3


def test_empty_labels_and_names_that_no_volume_shows_are_told(tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        image, label = anatomy(seed=seed)
        save(tmp_path / f"in/{name}.nii.gz", image)
        save(tmp_path / f"in/{name}_seg.nii.gz", label * (name != "b"))
    names = ["1=liver", "2=spleen", "7=heart"]
    notes = prepare(
        [tmp_path / "in"], tmp_path / "out", modality=["mr"], labels=names, workers=1
    ).notes
    assert "in: the labels of 1 of 3 volumes (b) are empty: nothing is learned from these" in notes
    assert "in: no volume shows heart: is the value right?" in notes
