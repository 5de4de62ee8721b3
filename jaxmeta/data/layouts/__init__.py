"""How folders say which label is of which image."""
