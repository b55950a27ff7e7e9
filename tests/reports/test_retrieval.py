"""What a query retrieves, as it is shown: beside a literal search."""

from functools import partial

import numpy as np

from jaxadv.data.bags import say_bag
from jaxadv.data.pairs import Pairs
from jaxadv.experiments.hash_attacks import Codes
from jaxadv.hashing.metrics import pack
from jaxadv.reports.retrieval import retrieved

TAGS = ("red", "big", "circle", "star")


def test_it_is_what_is_nearest():
    """Nearest first, ties in the database's order; right where a label is shared."""
    rng = np.random.default_rng(0)
    bits, count, top = 6, 20, 4
    codes = Codes(*(rng.choice([-1.0, 1.0], (count, bits)) for _ in range(2)))
    labels, query_labels = rng.random((count, 3)) < 0.4, np.array([True, False, True])
    pictures = rng.integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    bags = (rng.random((count, len(TAGS))) < 0.5).astype(np.float32)
    database = Pairs(pictures, bags, labels, tuple(map(str, range(count))), ("a", "b", "c"))
    query = rng.normal(size=bits)
    kept = Codes(*map(pack, codes))
    found = retrieved(query, kept, database, query_labels, partial(say_bag, tags=TAGS), top)

    def nearest(others):
        apart = [sum(a * b < 0 for a, b in zip(query, code, strict=True)) for code in others]
        return sorted(range(count), key=lambda row: (apart[row], row))[:top]

    texts, seen = nearest(codes.text), nearest(codes.image)
    assert texts != seen
    assert found.texts == [say_bag(bags[row], TAGS) for row in texts]
    np.testing.assert_allclose(found.pictures, pictures[seen] / 255, rtol=1e-6)
    for rows, right in ((texts, found.texts_right), (seen, found.pictures_right)):
        assert right == [bool(labels[row] @ query_labels) for row in rows]
    assert {*found.texts_right, *found.pictures_right} == {True, False}
