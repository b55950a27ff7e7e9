"""Methods prepared once each: an attack that is the same object again is not compiled again."""

from functools import cache

from jaxadv.captions import methods
from jaxadv.labels import methods as label_methods

caption_method = cache(methods.prepare)
label_method = cache(label_methods.prepare)
