"""`segment` in a notebook gives the masks that the command writes, of files and of arrays."""

import nibabel as nib
import numpy as np
import pytest

from experiments.studies import figure
from jaxmeta.errors import BadInput
from jaxmeta.inference import Volume, segment
from jaxmeta.inference.predict import predict
from tests.helpers.predicting import options, whole_pair


@pytest.fixture
def images(scanned, tmp_path):
    """Case 5, and the same turned to another orientation."""
    scan = nib.load(scanned / "belly" / "imagesTr" / "case5.nii.gz")
    ornt = nib.orientations.axcodes2ornt(("P", "I", "R"))
    nib.save(scan.as_reoriented(ornt), tmp_path / "turned.nii.gz")
    return scanned / "belly" / "imagesTr" / "case5.nii.gz", tmp_path / "turned.nii.gz"


def loaded(path) -> Volume:
    volume = nib.load(path)
    return Volume(np.asarray(volume.dataobj), volume.affine)


def test_files_and_arrays_have_the_masks_that_the_command_writes(run, scanned, images, tmp_path):
    how = dict(shots=3, support_sets=2, structures=(3, 1), largest_component=True)
    text = whole_pair(scanned)
    asked = options(run, scanned, support=(text,), image=images, output=tmp_path / "masks", **how)
    written = [np.asarray(nib.load(path).dataobj) for path in predict(asked)]
    assert all(mask.any() for mask in written), "of nothing everything is right"
    image, label = text.split(":")
    before = sorted(tmp_path.iterdir())
    ways = {
        "texts": (images, [text]),
        "files": ([str(path) for path in images], [(image, label)]),
        "arrays": ([loaded(path) for path in images], [(loaded(image), loaded(label).values)]),
    }
    for name, (given, support) in ways.items():
        for mask, wanted in zip(segment(run, given, support, **how), written, strict=True):
            np.testing.assert_array_equal(mask, wanted, err_msg=name)
            assert mask.dtype == wanted.dtype, name
    assert sorted(tmp_path.iterdir()) == before, "nothing is written unless asked"


def test_masks_are_written_where_they_are_asked_for(run, scanned, images, tmp_path):
    support = [whole_pair(scanned) + ":3"]
    (mask,) = segment(run, images[0], support, output=tmp_path / "masks")
    np.testing.assert_array_equal(nib.load(tmp_path / "masks" / "case5.nii.gz").dataobj, mask)
    assert (tmp_path / "masks" / "overlay.png").exists()


def test_an_array_may_have_the_millimetres_of_its_voxels_alone(run, scanned, images):
    scan, support = loaded(images[0]), [whole_pair(scanned) + ":3"]
    millimeters = nib.affines.voxel_sizes(scan.affine)
    upright = Volume(scan.values, np.diag([*millimeters, 1.0]))
    (one,) = segment(run, [Volume(scan.values, millimeters)], support)
    (other,) = segment(run, [upright], support)
    np.testing.assert_array_equal(one, other)
    with pytest.raises(BadInput, match="affine of shape"):
        segment(run, [Volume(scan.values, (1.0, 1.0))], support)


@pytest.mark.parametrize("kind", [bool, np.int64, np.uint16, np.float64])
def test_labels_of_any_type_show_the_same(run, scanned, images, kind):
    image, label = whole_pair(scanned).split(":")
    spleen = (loaded(label).values == 3).astype(kind)
    (one,) = segment(run, images[0], [(image, spleen)])
    (other,) = segment(run, images[0], [(image, label, 3)])
    np.testing.assert_array_equal(one, other)


def test_without_a_support_it_says_so(images):
    with pytest.raises(BadInput, match="give `support`, labelled slices"):
        segment(None, images)


@pytest.mark.slow
def test_the_figure_of_the_readme_is_made_of_a_run(run, scanned, tmp_path):
    folder = scanned / "belly"
    asked = figure.Options((folder,), run, tmp_path / "figure.png", shots=2)
    columns = list(figure.columns(folder, asked))
    assert len(columns) == 3, "a column for each structure"
    for one in columns:
        assert one.label.any() and one.truth.any() and one.label.shape == one.support.shape
    figure.draw(asked.output, columns)
    assert asked.output.stat().st_size > 10_000
