"""How a configuration becomes a run, a run is trained, kept in its folder, and opened again."""
