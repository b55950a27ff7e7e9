"""The algorithm that all attacks share, and its drivers; it knows no family."""
