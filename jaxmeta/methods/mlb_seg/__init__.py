"""MLB-Seg (Wei, Yu, Li, Shao, Xie, Xing, Zhou, MICCAI 2023, arXiv 2307.11604)."""
