"""Adversarial attacks on vision models with structured outputs, in JAX.

    import jaxadv as ja

    v = ja.load("scenes-show-attend-tell")              # v.model, v.params
    t = ja.captions.target("a red _ is above ...", v.model)
    r = ja.run(ja.captions.gem(v.model), v.params, picture, t, iterations=50)
    ja.show(r)

A family of attacks is a package: `ja.captions`, `ja.labels`, `ja.hashing`, `ja.backdoors`. Pictures
that are shipped are in `ja.photographs` and `ja.scenes`, and `ja.training` trains victims. What is
in `__all__` here and there is public; nothing else is. All of it is imported when it is first used,
so that `import jaxadv` takes no time.
"""

from typing import TYPE_CHECKING

from jaxadv.lazy import lazily

if TYPE_CHECKING:
    from jaxadv import backdoors, captions, hashing, labels, training
    from jaxadv.core.attack import (
        Appraisal,
        Attack,
        Objective,
        Status,
        Verdict,
        default_optimiser,
        descend,
    )
    from jaxadv.core.constraints import Constraint, ball, clip, signed, tanh, tanh_of_picture
    from jaxadv.core.expectation import over_transformations
    from jaxadv.core.jpeg import compressed, jpeg
    from jaxadv.core.memory import largest_batch
    from jaxadv.core.minimal import minimal
    from jaxadv.core.precision import attack_in
    from jaxadv.core.run import Result, run, unroll, why_nothing_moved
    from jaxadv.core.stream import Finished, Request, stream
    from jaxadv.core.transformations import in_turn, noise, resizing
    from jaxadv.core.universal import fooled_by, universal
    from jaxadv.data import photographs, scenes
    from jaxadv.data.images import read_image, resize, write_png
    from jaxadv.data.opening import open_data
    from jaxadv.data.own_size import at_own_size
    from jaxadv.data.records import examples
    from jaxadv.data.scene_folder import write_scenes
    from jaxadv.errors import InputError
    from jaxadv.experiments.make import make_sweep as sweep
    from jaxadv.experiments.make import read_records
    from jaxadv.loading import load
    from jaxadv.reports.page.write import report
    from jaxadv.reports.show import show
    from jaxadv.victims.conformance import check
    from jaxadv.victims.from_torch import from_torch
    from jaxadv.victims.memory import rematerialised
    from jaxadv.victims.zoo import installed
    from jaxadv.vocabulary import Vocabulary

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
    "Status": "jaxadv.core.attack:Status",
    "Verdict": "jaxadv.core.attack:Verdict",
    "Vocabulary": "jaxadv.vocabulary:Vocabulary",
    "at_own_size": "jaxadv.data.own_size:at_own_size",
    "attack_in": "jaxadv.core.precision:attack_in",
    "backdoors": "jaxadv.backdoors",
    "ball": "jaxadv.core.constraints:ball",
    "captions": "jaxadv.captions",
    "check": "jaxadv.victims.conformance:check",
    "clip": "jaxadv.core.constraints:clip",
    "compressed": "jaxadv.core.jpeg:compressed",
    "default_optimiser": "jaxadv.core.attack:default_optimiser",
    "descend": "jaxadv.core.attack:descend",
    "examples": "jaxadv.data.records:examples",
    "fooled_by": "jaxadv.core.universal:fooled_by",
    "from_torch": "jaxadv.victims.from_torch:from_torch",
    "hashing": "jaxadv.hashing",
    "in_turn": "jaxadv.core.transformations:in_turn",
    "installed": "jaxadv.victims.zoo:installed",
    "jpeg": "jaxadv.core.jpeg:jpeg",
    "labels": "jaxadv.labels",
    "largest_batch": "jaxadv.core.memory:largest_batch",
    "load": "jaxadv.loading:load",
    "minimal": "jaxadv.core.minimal:minimal",
    "noise": "jaxadv.core.transformations:noise",
    "open_data": "jaxadv.data.opening:open_data",
    "over_transformations": "jaxadv.core.expectation:over_transformations",
    "photographs": "jaxadv.data.photographs",
    "read_image": "jaxadv.data.images:read_image",
    "read_records": "jaxadv.experiments.make:read_records",
    "rematerialised": "jaxadv.victims.memory:rematerialised",
    "report": "jaxadv.reports.page.write:report",
    "resize": "jaxadv.data.images:resize",
    "resizing": "jaxadv.core.transformations:resizing",
    "run": "jaxadv.core.run:run",
    "scenes": "jaxadv.data.scenes",
    "show": "jaxadv.reports.show:show",
    "signed": "jaxadv.core.constraints:signed",
    "stream": "jaxadv.core.stream:stream",
    "sweep": "jaxadv.experiments.make:make_sweep",
    "tanh": "jaxadv.core.constraints:tanh",
    "tanh_of_picture": "jaxadv.core.constraints:tanh_of_picture",
    "training": "jaxadv.training",
    "universal": "jaxadv.core.universal:universal",
    "unroll": "jaxadv.core.run:unroll",
    "why_nothing_moved": "jaxadv.core.run:why_nothing_moved",
    "write_png": "jaxadv.data.images:write_png",
    "write_scenes": "jaxadv.data.scene_folder:write_scenes",
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
    "Status",
    "Verdict",
    "Vocabulary",
    "at_own_size",
    "attack_in",
    "backdoors",
    "ball",
    "captions",
    "check",
    "clip",
    "compressed",
    "default_optimiser",
    "descend",
    "examples",
    "fooled_by",
    "from_torch",
    "hashing",
    "in_turn",
    "installed",
    "jpeg",
    "labels",
    "largest_batch",
    "load",
    "minimal",
    "noise",
    "open_data",
    "over_transformations",
    "photographs",
    "read_image",
    "read_records",
    "rematerialised",
    "report",
    "resize",
    "resizing",
    "run",
    "scenes",
    "show",
    "signed",
    "stream",
    "sweep",
    "tanh",
    "tanh_of_picture",
    "training",
    "universal",
    "unroll",
    "why_nothing_moved",
    "write_png",
    "write_scenes",
]
__getattr__, __dir__ = lazily(__name__, _PUBLIC)
