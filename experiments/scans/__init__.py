"""One's own scans: read as a run reads its shards, or pointed into."""
