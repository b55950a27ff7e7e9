"""What went wrong with a checkpoint, on one line."""

from jaxadv.errors import InputError


class PortingError(InputError):
    """A checkpoint that cannot be read or does not fit: one line with the file and the reason."""
