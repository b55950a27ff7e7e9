"""Methods prepared once each: an attack that is the same object again is not compiled again."""

from functools import cache

from jaxadv.attacks import label_methods, methods

caption_method = cache(methods.prepare)
label_method = cache(label_methods.prepare)
