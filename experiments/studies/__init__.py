"""Studies: what stands behind RESULTS.md, and how far its intervals can be trusted."""
