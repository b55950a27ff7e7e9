"""The sweep files that come with the package: each paper's tables at three sizes."""

from pathlib import Path

from jaxadv.experiments.cells import PlanError
from jaxadv.formats.errors import quoted

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """List the files that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find(file: Path) -> Path:
    """Return a sweep file: the one there, or the shipped one of that name.

    Raises:
      PlanError: neither.
    """
    shipped = file.name in names()
    if _exists(file) and not (shipped and file.is_dir()):
        return file
    if shipped:
        return FOLDER / f"{file.name}.toml"
    raise PlanError(f"{quoted(str(file))}: no such file; shipped are {', '.join(names())}")


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except (OSError, ValueError):  # too long for a name, or none
        return False
