"""What `predict` is asked of the scans that the tests of commands share."""

from jaxmeta.inference.predict import Options


def pair(scanned, case=0, value=3):
    """Name an image, its labels and the value of one structure, as `support` takes them."""
    folder = scanned / "belly"
    return f"{folder}/imagesTr/case{case}.nii.gz:{folder}/labelsTr/case{case}.nii.gz:{value}"


def whole_pair(scanned):
    """Name an image and its labels."""
    return pair(scanned).rpartition(":")[0]


def options(run, scanned, **changes):
    """Ask for the mask of the last scan of the belly from the first."""
    image = scanned / "belly" / "imagesTr" / "case5.nii.gz"
    given = {"run": run, "support": (pair(scanned),), "image": (image,)}
    return Options(**({**given, "output": scanned / "out"} | changes))
