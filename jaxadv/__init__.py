"""Adversarial attacks on vision models with structured outputs, in JAX.

    import jaxadv as ja

    v = ja.load("scenes-show-attend-tell")              # v.model, v.params
    t = ja.captions.target("a red _ is above ...", v.model)
    r = ja.run(ja.captions.gem(v.model), v.params, picture, t, iterations=50)
    ja.show(r)

A family of attacks is a package: `ja.captions`, `ja.labels`, `ja.hashing`, `ja.backdoors`. What is
in `__all__` here and there is public; nothing else is. All of it is imported when it is first used,
so that `import jaxadv` takes no time.
"""

from typing import TYPE_CHECKING

from jaxadv.lazy import lazily

if TYPE_CHECKING:
    from jaxadv import backdoors, captions, hashing, labels
    from jaxadv.core.attack import Appraisal, Attack, Objective, Verdict, descend
    from jaxadv.core.constraints import Constraint, ball, clip, tanh
    from jaxadv.core.expectation import over_transformations
    from jaxadv.core.jpeg import jpeg
    from jaxadv.core.run import Result, run, unroll
    from jaxadv.core.stream import Finished, Request, stream
    from jaxadv.core.transformations import in_turn, noise, resizing
    from jaxadv.core.universal import fooled_by, universal
    from jaxadv.data import scenes
    from jaxadv.data.images import read_image, resize, write_png
    from jaxadv.data.opening import open_data
    from jaxadv.errors import InputError
    from jaxadv.experiments.make import make_sweep as sweep
    from jaxadv.experiments.make import read_records
    from jaxadv.reports.show import show
    from jaxadv.victims.conformance import check
    from jaxadv.victims.zoo import installed, load

__version__ = "0.1.0"
_PUBLIC = {  # where it is
    "Appraisal": "jaxadv.core.attack:Appraisal",
    "Attack": "jaxadv.core.attack:Attack",
    "Constraint": "jaxadv.core.constraints:Constraint",
    "Finished": "jaxadv.core.stream:Finished",
    "InputError": "jaxadv.errors:InputError",
    "Objective": "jaxadv.core.attack:Objective",
    "Request": "jaxadv.core.stream:Request",
    "Result": "jaxadv.core.run:Result",
    "Verdict": "jaxadv.core.attack:Verdict",
    "backdoors": "jaxadv.backdoors",
    "ball": "jaxadv.core.constraints:ball",
    "captions": "jaxadv.captions",
    "check": "jaxadv.victims.conformance:check",
    "clip": "jaxadv.core.constraints:clip",
    "descend": "jaxadv.core.attack:descend",
    "fooled_by": "jaxadv.core.universal:fooled_by",
    "hashing": "jaxadv.hashing",
    "in_turn": "jaxadv.core.transformations:in_turn",
    "installed": "jaxadv.victims.zoo:installed",
    "jpeg": "jaxadv.core.jpeg:jpeg",
    "labels": "jaxadv.labels",
    "load": "jaxadv.victims.zoo:load",
    "noise": "jaxadv.core.transformations:noise",
    "open_data": "jaxadv.data.opening:open_data",
    "over_transformations": "jaxadv.core.expectation:over_transformations",
    "read_image": "jaxadv.data.images:read_image",
    "read_records": "jaxadv.experiments.make:read_records",
    "resize": "jaxadv.data.images:resize",
    "resizing": "jaxadv.core.transformations:resizing",
    "run": "jaxadv.core.run:run",
    "scenes": "jaxadv.data.scenes",
    "show": "jaxadv.reports.show:show",
    "stream": "jaxadv.core.stream:stream",
    "sweep": "jaxadv.experiments.make:make_sweep",
    "tanh": "jaxadv.core.constraints:tanh",
    "universal": "jaxadv.core.universal:universal",
    "unroll": "jaxadv.core.run:unroll",
    "write_png": "jaxadv.data.images:write_png",
}
__all__ = [
    "Appraisal",
    "Attack",
    "Constraint",
    "Finished",
    "InputError",
    "Objective",
    "Request",
    "Result",
    "Verdict",
    "backdoors",
    "ball",
    "captions",
    "check",
    "clip",
    "descend",
    "fooled_by",
    "hashing",
    "in_turn",
    "installed",
    "jpeg",
    "labels",
    "load",
    "noise",
    "open_data",
    "over_transformations",
    "read_image",
    "read_records",
    "resize",
    "resizing",
    "run",
    "scenes",
    "show",
    "stream",
    "sweep",
    "tanh",
    "universal",
    "unroll",
    "write_png",
]
__getattr__, __dir__ = lazily(__name__, _PUBLIC)
