"""Self-Sampling Meta SAM (Zhang, Leng, Han, Xie, WACV 2024, arXiv 2308.16466)."""
