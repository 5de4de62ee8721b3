"""What a protocol of the literature asks."""

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.protocol import request_of
from jaxmeta.evaluation.protocols.alpnet import trials
from jaxmeta.methods.options import Episodes
from jaxmeta.runs.config import Config
from jaxmeta.runs.protocol import trained_by
from jaxmeta.splits.alpnet import split_of
from jaxmeta.splits.pool import pool
from tests.helpers.cohorts import write_scans


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """Ten patients, of whom the third, fourth and sixth have no kidney."""
    root = tmp_path_factory.mktemp("lacking")
    write_scans(root / "belly", ["liver", "kidney"], 10, 0)
    for number in (2, 3, 5):
        path = root / "belly" / "labelsTr" / f"case{number}.nii.gz"
        label = nib.load(path)
        array = np.asarray(label.dataobj).copy()
        array[array == 2] = 0
        nib.save(nib.Nifti1Image(array, label.affine), path)
    prepare([root / "belly"], root / "shards", size=16, workers=1)
    return open_shards([root / "shards"])


def asked(shards, fold):
    config = Config(
        test_organs=("kidney",),
        protocol="alpnet",
        fold=fold,
        setting=1,
        tasks=Episodes(size=16, spacing=0.0),
    )
    held_out = pool(shards, split_of(trained_by(config, shards), shards), "test")
    (trial,) = trials(held_out, request_of(config))
    return trial, [load() for load in trial.queries]


def test_a_patient_of_the_fold_without_the_organ_is_asked_last_and_nobody_else(lacking):
    """Fold 2 tests cases 4 and 5, and case 6 gives."""
    trial, queries = asked(lacking, 2)
    assert [query.patient for query in queries] == ["belly/case4", "belly/case5"]
    assert [bool(query.target.any()) for query in queries] == [True, False]
    assert {support.patients for support in trial.supports} == {("belly/case6",)}


def test_a_fold_without_the_organ_or_whose_support_patient_lacks_it_is_refused(lacking):
    with pytest.raises(BadInput, match="fold 1 has no case of kidney"):
        asked(lacking, 1)
    with pytest.raises(BadInput, match="fold 0: belly/case2, the support patient, has no kidney"):
        asked(lacking, 0)
