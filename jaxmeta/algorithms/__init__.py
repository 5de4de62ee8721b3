"""One short file an algorithm: how the meta-parameters are adapted, and how they learn."""

from jaxmeta.algorithms.algorithm import Algorithm as Algorithm
from jaxmeta.algorithms.algorithm import Meta as Meta
from jaxmeta.algorithms.imaml import imaml as imaml
from jaxmeta.algorithms.in_context import in_context as in_context
from jaxmeta.algorithms.maml import maml as maml
from jaxmeta.algorithms.maml_plus_plus import maml_plus_plus as maml_plus_plus
from jaxmeta.algorithms.metamedseg import metamedseg as metamedseg
from jaxmeta.algorithms.promptable import promptable as promptable
from jaxmeta.algorithms.prototypes import prototypes as prototypes
from jaxmeta.algorithms.reptile import reptile as reptile
from jaxmeta.algorithms.ssm_sam import ssm_sam as ssm_sam
from jaxmeta.algorithms.supervised import supervised as supervised
from jaxmeta.algorithms.transfer import scratch as scratch
from jaxmeta.algorithms.transfer import transfer as transfer
