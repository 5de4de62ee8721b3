"""MetaMedSeg (Makarevich, Farshad et al. 2021, arXiv 2109.09734)."""
