"""timm's networks, imported where torchvision is absent: stand-ins take the place of its names."""

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Name(type):
    """A class whose attributes are their own names, as an enumeration's could be."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _StandIn(ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(name, (), {})


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self) if _is_torchvision(name) else None

    def create_module(self, spec):
        return _StandIn(spec.name)

    def exec_module(self, module):
        pass


def _is_torchvision(name):
    return name.partition(".")[0] == "torchvision"


def tresnet():
    """Return `timm.models.tresnet`, and leave no stand-in behind."""
    if importlib.util.find_spec("torchvision"):
        return importlib.import_module("timm.models.tresnet")
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        return importlib.import_module("timm.models.tresnet")
    finally:
        sys.meta_path.remove(finder)
        for name in filter(_is_torchvision, list(sys.modules)):
            del sys.modules[name]
