"""Published lists of who is labelled, who is not and who is tested, by the cases' own names."""

from typing import NamedTuple


class PublishedList(NamedTuple):
    """Case names; without `labelled` the `first` of the training list are."""

    name: str
    about: str
    test: tuple[str, ...]
    labelled: tuple[str, ...] = ()
    training: tuple[str, ...] = ()  # without: all others, in the order of their names
    first: int = 0


# Left Atrium (2018 challenge): UA-MT (Yu et al. 2019, arXiv 1907.07034) tests these 20; its
# training list has the other 80 in the order of their names, of which papers label the first ones.
ATRIUM_TEST = tuple(
    """UPT6DX9IQY9JAZ7HJKA7 UTBUJIWZMKP64E3N73YC ULHWPWKKLTE921LQLH1P V0MZOWJ6MU3RMRCV9EXR
    VDOF02M8ZHEAADFMS6NP VG4C826RAAKVMV9BQLVD VIXBEFTNVHZWKAKURJBN VQ2L3WM8KEVF6L44E6G9
    WBG9WYZ1B25WDT5WAT8T WMDG2EFA6L2SNDZXIRU0 WNPKE0W404QE9AELX1LR WSJB9P4JCXUVHBOYFVWL
    WW8F5CO4S4K5IM5Z7EXX X18LU5AOBNNDMLTA0JZL XYDLYJ5CS19FDBVLJIPI Y7ZU0B2APPF54WG6PDMF
    YDKD1HVHSME6NVMA8I39 Z9GMG63CJLL0VW893BB1 ZIJLJAVQV3FJ6JSQOH1E ZQPMJ4XEC5A4BISD45P1""".split()
)
# PROMISE12: 3 labelled, 37 unlabelled, 10 tested, as MLB-Seg (arXiv 2307.11604) and H-SAM divide.
PROSTATE_TEST = tuple(f"Case{n:02}" for n in (16, 35, 34, 49, 23, 12, 28, 43, 20, 13))
PROSTATE_LABELLED = ("Case29", "Case14", "Case05")
PROSTATE = "the 50 training cases of PROMISE12, Case00 to Case49"
ATRIUM = "the 100 training cases of the 2018 left atrium challenge, by their own names"

PUBLISHED = {
    each.name: each
    for each in (
        *(PublishedList(f"la-{n}", ATRIUM, ATRIUM_TEST, first=n) for n in (4, 8, 16)),
        PublishedList("promise12", PROSTATE, PROSTATE_TEST, PROSTATE_LABELLED),
    )
}
