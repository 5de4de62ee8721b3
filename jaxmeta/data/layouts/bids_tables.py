"""The lookup tables of BIDS: which structure a value of a *_dseg.nii.gz is.

A table is called *dseg.tsv and has the columns `index` and `name`. It speaks for the labels below
its folder whose names have all parts of its own; of several the nearest, then the most particular.
"""

import csv
from functools import lru_cache
from pathlib import Path

from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput


def lookup(label: Path, root: Path) -> dict[str, tuple[int, ...]] | None:
    """Give structure -> values for a label in a data set at `root`; None where no table speaks."""
    parts = set(label.name.split(".")[0].split("_"))
    root = root.absolute()
    for folder in label.absolute().parents:
        tables = [table for table in _tables(folder) if _parts(table) <= parts]
        if tables:
            return read_table(max(tables, key=lambda table: len(_parts(table))))
        if folder == root:
            break
    return None


@lru_cache(maxsize=64)  # one table for all subjects, mostly; none is written while we read
def read_table(table: Path) -> dict[str, tuple[int, ...]]:
    """Read structure -> values; a name of several rows is one structure of several values."""
    try:
        rows = csv.DictReader(table.read_text("utf-8-sig").splitlines(), delimiter="\t")
    except UnicodeDecodeError as error:
        raise BadInput(f"{table}: not text ({error})") from None
    if not {"index", "name"} <= set(rows.fieldnames or ()):
        raise BadInput(f"{table}: wants the columns index and name, separated by tabs")
    names = {}
    for row in rows:
        value, name = (row["index"] or "").strip(), slug(row["name"] or "")
        if not value.isdecimal() or not name:
            raise BadInput(f"{table}: line {rows.line_num} wants an index from 0 and a name")
        if int(value):  # 0 is the background
            names[name] = (*names.get(name, ()), int(value))
    return names


def _tables(folder):
    return [file for file in folder.glob("*dseg.tsv") if not file.name.startswith(".")]


def _parts(table):
    return set(table.name.removesuffix(".tsv").split("_"))
