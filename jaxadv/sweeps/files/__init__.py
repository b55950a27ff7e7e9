"""The sweep files that come with the package: each paper's tables at three sizes."""

from pathlib import Path

from jaxadv.sweeps.plan import PlanError

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """List the files that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find(file: Path) -> Path:
    """Return a sweep file: the one there, or the shipped one of that name.

    Raises:
      PlanError: neither.
    """
    shipped = FOLDER / f"{file.name}.toml"
    if file.is_file() or not shipped.is_file():
        if not file.is_file():
            raise PlanError(f"{file}: no such file; shipped are {', '.join(names())}")
        return file
    return shipped
