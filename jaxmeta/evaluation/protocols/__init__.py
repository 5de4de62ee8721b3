"""One file for each way of asking."""
