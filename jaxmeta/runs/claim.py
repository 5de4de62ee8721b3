"""A run's folder is of one run: what it is stands there, and another is told what differs."""

import jax
from jaxtyping import PyTree

from jaxmeta.errors import Occupied
from jaxmeta.files import plain, write_json
from jaxmeta.methods import method_of
from jaxmeta.runs import config_file, signature
from jaxmeta.runs.changes import changed
from jaxmeta.runs.config import LOOKING_ON, to_json
from jaxmeta.runs.run import FROZEN, fingerprint
from jaxmeta.runs.setup import Given


def claim(given: Given, backbone: PyTree = (), *, write: bool = True) -> dict[str, str]:
    """Write what the run is into its folder, or check that it is what stands there; return its
    signature.

    Whose the volumes are, and what is in them, is part of it: what is resumed goes on with the same
    scans.
    """
    config, division = given.config, given.division
    told = dict(config=to_json(config), split=plain(division))
    frozen = {FROZEN: fingerprint(backbone)} if backbone else {}
    for name in LOOKING_ON:
        del told["config"][name]
    path, kept = config.workdir / "config.json", config.workdir / signature.NAME
    volumes = signature.remembered(given.shards, division)
    if path.exists():
        stands = config_file.read_json(path)
        config_file.check_format(path, stands)
        if other := changed(stands, told):
            on = f", or go on from what it learned: `init_from={config.workdir}` `workdir=ANOTHER`"
            held_out = any(each.startswith(("test_organs ", "val_organs ")) for each in other)
            # scratch begins at random; and the run may have learned from what is held out now
            on = "" if held_out or method_of(config.method).from_random else on
            raise Occupied(
                f"{path} is of a run with other settings: {', '.join(other)}; give another "
                f"`workdir`{on}"
            )
        if stands.get(FROZEN) != frozen.get(FROZEN):
            raise Occupied(
                f"{path} is of a run on other frozen weights than {config.origin} holds now: "
                "give another `workdir`"
            )
        signature.refuse_edited(config.workdir)
        if kept.exists() and (before := signature.volumes_of(config.workdir)) != volumes:
            other = [n for n in before.keys() | volumes.keys() if before.get(n) != volumes.get(n)]
            raise Occupied(
                f"{path} is of a run on other data: {min(other)} is not what it was ({len(other)} "
                "such volumes); bring back the shards that it was trained on, or give another "
                "`workdir`"
            )
    if not write or jax.process_index():
        return {}
    if not (path.exists() and kept.exists()):  # what stands without the other is of nobody
        write_json(kept, signature.to_json(given.provenance, volumes))
    if not path.exists():
        write_json(path, {"format": config_file.FORMAT} | told | frozen)
    return {signature.SIGNATURE: signature.signed(config.workdir)}
