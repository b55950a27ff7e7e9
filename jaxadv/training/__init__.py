"""Fitting victims: captioners that are trained on, hashers of scenes."""

from typing import TYPE_CHECKING

from jaxadv.lazy import lazily

if TYPE_CHECKING:
    from jaxadv.training.folder_recipes import fine_tune
    from jaxadv.training.hasher_recipes import train_hasher_on_scenes

_PUBLIC = {  # where it is
    "fine_tune": "jaxadv.training.folder_recipes:fine_tune",
    "train_hasher_on_scenes": "jaxadv.training.hasher_recipes:train_hasher_on_scenes",
}
__all__ = [
    "fine_tune",
    "train_hasher_on_scenes",
]
__getattr__, __dir__ = lazily(__name__, _PUBLIC)
