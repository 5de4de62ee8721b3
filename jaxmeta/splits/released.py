"""How descendants of a protocol divide otherwise than the paper that they cite; for comparison.

Papers after SSL-ALPNet let their fold's first scan give the support, and drop a slice in Setting 2
only if it holds all of the organs.
"""

ALPNET_LEGACY = {"support_patient": "first", "excluded": "all"}
