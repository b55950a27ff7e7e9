"""What went in was wrong: one line that names it and says what would be accepted."""


class InputError(ValueError):
    """An input that cannot be used; the command line prints its line and exits with code 2."""
