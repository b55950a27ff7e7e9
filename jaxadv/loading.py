"""Victims from wherever they are: a name, a folder, the Hugging Face Hub, their publisher."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from jaxadv import checks
from jaxadv.core.precision import with_weights_in_bfloat16
from jaxadv.errors import InputError
from jaxadv.porting.hub import PREFIX, is_published, port_hub, port_published
from jaxadv.porting.port import Ported
from jaxadv.porting.public import is_public, port_public
from jaxadv.victims import zoo
from jaxadv.victims.own import is_own, make_own
from jaxadv.victims.zoo import Victim

Weights = Literal["float32", "bfloat16"]


def load(name: str, *, classes: Sequence[str] = (), weights: Weights = "float32") -> Victim:
    """Load a victim by name, from its folder, from the Hugging Face Hub or from its publisher.

    Args:
      name: of a victim (`jaxadv victims`), the path of a victim's folder or of a published model's,
        `hf://OWNER/NAME`, with `@REVISION` behind it for one revision, or a public checkpoint's
        (`jaxadv victims --available`), such as `torchvision://resnet50`; or `module:function`,
        where a function of yours makes the victim (`jaxadv.victims.own`).
      classes: names of the classes of a public checkpoint; or those that make a tagger of CLIP or
        SigLIP as it is published.
      weights: what they are stored in. With "bfloat16" they are rounded and take half the memory;
        victims still compute in float32 unless an attack's arithmetic is bfloat16, and
        perturbations are float32.

    Raises:
      InputError: there is none of that name, its files are damaged or of no known kind, or it
        cannot be given classes.
    """
    checks.one_of("weights", weights, get_args(Weights))
    victim = _loaded(name, classes)
    if weights == "float32":
        return victim
    functions, params = with_weights_in_bfloat16(victim.functions, victim.params)
    record = {**victim.record, "weights_sha256": zoo.digest(params)}
    return victim._replace(functions=functions, params=params, record=record)


def _loaded(name: str, classes: Sequence[str]) -> Victim:
    if name.startswith(PREFIX):
        return _victim(name, port_hub(name, classes=classes))
    if is_public(name):
        return _victim(name, port_public(name, classes))
    if is_published(Path(name)):
        return _victim(name, port_published(Path(name), classes=classes))
    if classes:
        raise InputError(f"{name}: already has its classes; only a published model takes others")
    return make_own(name) if is_own(name) else zoo.load(name)


def _victim(name: str, ported: Ported) -> Victim:
    record = {
        "source": name,
        **ported.origin,
        **zoo.identity(ported.architecture, ported.names, ported.variables),
    }
    functions = ported.architecture.functions(ported.names)
    return Victim(name, functions, ported.variables, ported.architecture, record)
