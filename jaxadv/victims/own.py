"""Victims that a function of the user's makes: `--victim module:function`.

The module is imported and the function is called, as Python does with any module: name only code
that you trust.
"""

import dataclasses
import hashlib
import importlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn

from jaxadv.captions.captioner import Captioner
from jaxadv.formats.errors import quoted
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.victims import zoo
from jaxadv.victims.architectures import Functions, Names, Params, VictimError

_NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_KINDS: dict[type, str] = {
    Captioner: "captioner",
    MultiLabelClassifier: "classifier",
    CrossModalHasher: "hasher",
}


@dataclasses.dataclass(frozen=True)
class OwnArchitecture:
    """What is known of a victim that a function makes.

    Attributes:
      kind: "captioner", "classifier" or "hasher".
      parts: the function.
      image_shape: (H, W, 3), or (d,).
    """

    named: ClassVar[tuple[str, ...]] = ()

    kind: str
    parts: str
    image_shape: tuple[int, ...]

    def shapes(self, names: Names) -> Params:
        """Refuse: only the function knows them."""
        self._refuse()

    def functions(self, names: Names) -> Functions:
        """Refuse: only the function makes them."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise VictimError(f"{self.parts}: a function makes this victim; it can only be attacked")


def is_own(name: str) -> bool:
    """Return whether a name is that of a function in a module.

    >>> is_own("my_victims:tagger"), is_own("scenes-tagger"), is_own("hf://somebody/model")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None


def make_own(name: str) -> zoo.Victim:
    """Import a module, also one of the working folder, and let a function of it make a victim.

    Args:
      name: `module:function`. The function takes nothing and returns a `Captioner`, a
        `MultiLabelClassifier` or a `CrossModalHasher` and its parameters; or what has these as
        `.model` and `.params`.

    Raises:
      VictimError: there is no such function, or it returns something else.
    """
    found = _NAME.fullmatch(name)
    assert found is not None
    module = _imported(found[1], name)
    make = getattr(module, found[2], None)
    if not callable(make):
        raise VictimError(f"{name}: {module.__name__} has no function {found[2]}")
    made = make()
    if hasattr(made, "model") and hasattr(made, "params"):
        made = made.model, made.params
    kind = _KINDS.get(type(made[0])) if isinstance(made, tuple) and len(made) == 2 else None
    if kind is None:
        raise VictimError(
            f"{name}: returned a {type(made).__name__}; must be a pair (model, params), with a "
            f"model of {', '.join(each.__name__ for each in _KINDS)}"
        )
    model, params = made
    record = {"source": name, "weights_sha256": _digest(module, params)}
    architecture = OwnArchitecture(kind, name, model.image_shape)
    return zoo.Victim(name, model, params, architecture, record)


def _imported(module: str, name: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        what = f"no module {quoted(str(problem.name))}"
        raise VictimError(f"{name}: {what} in {os.getcwd()} or among what is installed") from None


def _digest(module: ModuleType, params: Any) -> str:
    """SHA-256 of the weights and of the module's file, so that a sweep knows another victim."""
    total = hashlib.sha256(zoo.digest(params).encode())
    if module.__file__ is not None:
        total.update(Path(module.__file__).read_bytes())
    return total.hexdigest()
