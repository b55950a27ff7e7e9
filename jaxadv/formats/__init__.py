"""Files that others wrote: read without executing or coercing anything they hold."""
