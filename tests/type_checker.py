"""What checks the signatures of the package in the suite (`addopts` in `pyproject.toml`)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as mypy has it
