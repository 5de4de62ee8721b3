"""One file or folder a method: what it is to the commands, and what its released code does.

A new method is its file and a name in `ALL`.
"""

from jaxmeta.methods.imaml import IMAML
from jaxmeta.methods.in_context import IN_CONTEXT
from jaxmeta.methods.maml import ANIL, FOMAML, MAML, META_SGD
from jaxmeta.methods.maml_plus_plus import MAML_PLUS_PLUS
from jaxmeta.methods.metamedseg.method import METAMEDSEG
from jaxmeta.methods.method import Method
from jaxmeta.methods.mlb_seg.method import MLB_SEG
from jaxmeta.methods.promptable import SAM
from jaxmeta.methods.prototypes import PROTOTYPES
from jaxmeta.methods.reptile import REPTILE
from jaxmeta.methods.ssm_sam.method import SSM_SAM
from jaxmeta.methods.supervised import SUPERVISED
from jaxmeta.methods.transfer import SCRATCH, TRANSFER

ALL = (
    MAML,
    FOMAML,
    ANIL,
    META_SGD,
    MAML_PLUS_PLUS,
    REPTILE,
    METAMEDSEG,
    IMAML,
    PROTOTYPES,
    IN_CONTEXT,
    SAM,
    SSM_SAM,
    TRANSFER,
    SCRATCH,
    SUPERVISED,
    MLB_SEG,
)
METHODS = {each.name: each for each in ALL}
BY_OPTIONS = {each.options: each for each in ALL}


def method_of(options: object) -> Method:
    """Find the method that these options are of."""
    return BY_OPTIONS[type(options)]
