"""Many attacks and the tables they end in."""
