"""Adversarial attacks on vision models with structured outputs, in JAX.

    import jaxadv as ja

    v = ja.load("scenes-show-attend-tell")              # v.model, v.params
    t = ja.captions.target("a red _ is above ...", v.model)
    r = ja.run(ja.captions.gem(v.model), v.params, picture, t, iterations=50)
    ja.show(r, v, picture, t)

A family is a folder: `ja.captions`, `ja.labels`, `ja.hashing`, `ja.backdoors`. What is listed in
`__all__` here and there is public; nothing else is. Everything is imported when it is first used,
so that `import jaxadv` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxadv import backdoors, captions, hashing, labels
    from jaxadv.core.attack import Attack, Objective, descend
    from jaxadv.core.constraints import ball, clip, tanh
    from jaxadv.core.expectation import over_transformations
    from jaxadv.core.run import Result, run, unroll
    from jaxadv.core.stream import stream
    from jaxadv.data.images import read_image, resize, write_png
    from jaxadv.reports.show import show
    from jaxadv.victims.conformance import check
    from jaxadv.victims.zoo import installed, load

__version__ = "0.1.0"
__all__ = [
    "Attack",
    "Objective",
    "Result",
    "backdoors",
    "ball",
    "captions",
    "check",
    "clip",
    "descend",
    "hashing",
    "installed",
    "labels",
    "load",
    "over_transformations",
    "read_image",
    "resize",
    "run",
    "show",
    "stream",
    "tanh",
    "unroll",
    "write_png",
]

_FAMILIES = ("backdoors", "captions", "hashing", "labels")
_IN = {  # which module has what
    "jaxadv.core.attack": ("Attack", "Objective", "descend"),
    "jaxadv.core.constraints": ("ball", "clip", "tanh"),
    "jaxadv.core.expectation": ("over_transformations",),
    "jaxadv.core.run": ("Result", "run", "unroll"),
    "jaxadv.core.stream": ("stream",),
    "jaxadv.data.images": ("read_image", "resize", "write_png"),
    "jaxadv.reports.show": ("show",),
    "jaxadv.victims.conformance": ("check",),
    "jaxadv.victims.zoo": ("installed", "load"),
}
_MODULE_OF = {name: module for module, names in _IN.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _FAMILIES:
        return import_module(f"jaxadv.{name}")
    if name in _MODULE_OF:
        found = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return found
    raise AttributeError(f"module 'jaxadv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
