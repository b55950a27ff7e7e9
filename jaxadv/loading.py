"""Victims from wherever they are: by name, from a folder, or from the Hugging Face Hub."""

from pathlib import Path

from jaxadv.porting.hub import PREFIX, fetch, is_published, port_published
from jaxadv.victims import zoo
from jaxadv.victims.zoo import Victim


def load(name: str) -> Victim:
    """Load a victim by name, from its folder, or from the Hugging Face Hub.

    Args:
      name: of a victim (`jaxadv victims`), the path of a victim's folder or of a published model's,
        or `hf://OWNER/NAME`, with `@REVISION` behind it for one revision.

    Raises:
      InputError: there is none of that name, or its files are damaged or of no known kind.
    """
    if name.startswith(PREFIX):
        folder, revision = fetch(name)
        return _published(folder, name, revision=revision)
    folder = Path(name)
    if is_published(folder) and not (folder / "record.json").is_file():
        return _published(folder, name)
    return zoo.load(name)


def _published(folder: Path, name: str, **about: str) -> Victim:
    ported = port_published(folder, name=name)
    record = {
        "source": name,
        **about,
        "files": [source._asdict() for source in ported.sources],
        **zoo.identity(ported.architecture, ported.names, ported.variables),
    }
    functions = ported.architecture.functions(ported.names)
    return Victim(name, functions, ported.variables, ported.architecture, record)
