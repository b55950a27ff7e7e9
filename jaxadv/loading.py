"""Victims from wherever they are: by name, from a folder, or from the Hugging Face Hub."""

from collections.abc import Sequence
from pathlib import Path

from jaxadv.errors import InputError
from jaxadv.porting.hub import PREFIX, is_published, port_hub, port_published
from jaxadv.porting.port import Ported
from jaxadv.victims import zoo
from jaxadv.victims.zoo import Victim


def load(name: str, *, classes: Sequence[str] = ()) -> Victim:
    """Load a victim by name, from its folder, or from the Hugging Face Hub.

    Args:
      name: of a victim (`jaxadv victims`), the path of a victim's folder or of a published model's,
        or `hf://OWNER/NAME`, with `@REVISION` behind it for one revision.
      classes: names of classes, which make a tagger of a published CLIP or SigLIP.

    Raises:
      InputError: there is none of that name, its files are damaged or of no known kind, or it
        cannot be given classes.
    """
    if name.startswith(PREFIX):
        return _victim(name, port_hub(name, classes=classes))
    if is_published(Path(name)):
        return _victim(name, port_published(Path(name), classes=classes))
    if classes:
        raise InputError(f"{name}: classes are for CLIP and SigLIP as they are published")
    return zoo.load(name)


def _victim(name: str, ported: Ported) -> Victim:
    record = {
        "source": name,
        "revision": ported.revision,
        "files": [source._asdict() for source in ported.sources],
        **zoo.identity(ported.architecture, ported.names, ported.variables),
    }
    functions = ported.architecture.functions(ported.names)
    return Victim(name, functions, ported.variables, ported.architecture, record)
