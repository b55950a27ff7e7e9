"""Options that several commands read in the same way; nothing here imports JAX."""

from jaxadv.errors import InputError

AUTO = "Attacks at once; auto: as many as fit the device."


def batch_size(text: str) -> int | None:
    """Read how many attacks are made at once; None stands for as many as fit.

    Raises:
      InputError: neither a whole number of at least 1 nor "auto".

    >>> batch_size("16"), batch_size("auto")
    (16, None)
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch {text!r}: must be a whole number of at least 1, or auto")
    return int(text)
