"""Train victims: fine-tune captioners, train hashers on scenes."""

from typing import TYPE_CHECKING

from jaxadv.lazy import lazily

if TYPE_CHECKING:
    from jaxadv.training.captioner_recipes import fine_tune
    from jaxadv.training.hasher_recipes import train_hasher_on_scenes

_PUBLIC = {  # where it is
    "fine_tune": "jaxadv.training.captioner_recipes:fine_tune",
    "train_hasher_on_scenes": "jaxadv.training.hasher_recipes:train_hasher_on_scenes",
}
__all__ = ["fine_tune", "train_hasher_on_scenes"]
__getattr__, __dir__ = lazily(__name__, _PUBLIC)
