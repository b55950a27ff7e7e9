"""One content in several sentence forms: active, passive, with an attributive clause.

Section 6 of Xu et al., "Exact Adversarial Attack to Image Captioning", CVPR 2019, asks which styles
of captions a captioner can be made to say. Its targets were written by hand; here a caption that is
a clause, `SUBJECT is PREDICATE`, is said in each of `FORMS`:

- active: `a red circle is above a blue square`;
- passive: subject and object change places, `a bike is ridden by a man`. Where the predicate is a
  spatial relation, which has no voice, its converse: `a blue square is below a red circle`;
- attributive: the predicate as a relative clause, `a red circle that is above a blue square`;
- reduced: the same clause without pronoun and verb, `a red circle above a blue square`, the nearest
  to it that a victim without `that` and `which` can say.

A grammar of captions, not of English: what it cannot read it leaves alone.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from jaxadv.vocabulary import tokenize

Form = Literal["active", "passive", "attributive", "reduced"]
FORMS: tuple[Form, ...] = ("active", "passive", "attributive", "reduced")
RELATIVE_PRONOUNS = ("that", "which")

EXAMPLES: tuple[dict[Form, str], ...] = (
    {
        "active": "a young boy is playing with a frisbee on the beach",
        "passive": "a frisbee is played by a young boy on the beach",
    },
    {
        "active": "a man with a dog is riding a bike",
        "passive": "a bike is ridden by a man with a dog",
    },
    {
        "active": "a young boy is playing with an orange frisbee on the beach",
        "attributive": "a young boy is playing with a frisbee which is orange on the beach",
    },
    {
        "active": "a white toilet in a bathroom with a table",
        "attributive": "a toilet that is white in a bathroom with a table",
    },
)
"""The targets of the paper's Figure 4, each with an active form, which is ours."""

_PARTICIPLES = {
    "biting": "bitten",
    "carrying": "carried",
    "catching": "caught",
    "chasing": "chased",
    "climbing": "climbed",
    "crossing": "crossed",
    "driving": "driven",
    "eating": "eaten",
    "flying": "flown",
    "hitting": "hit",
    "holding": "held",
    "kicking": "kicked",
    "performing": "performed",
    "playing": "played",
    "pulling": "pulled",
    "pushing": "pushed",
    "riding": "ridden",
    "swinging": "swung",
    "throwing": "thrown",
    "using": "used",
    "watching": "watched",
    "wearing": "worn",
}
_PAIRS = (("above", "below"), ("to the left of", "to the right of"), ("behind", "in front of"))
_CONVERSES = {tuple(a.split()): tuple(b.split()) for pair in _PAIRS for a, b in (pair, pair[::-1])}
_PREPOSITIONS = frozenset(
    tokenize(
        "above across against along and around as at behind below beside by down for from in into "
        "near next off on onto over past through to toward towards under up while with"
    )
)
_PLURAL = frozenset(tokenize("two three four five six several some many people men women children"))
_SINGULAR = frozenset(tokenize("a an one another"))
_NO_VERBS = frozenset(
    tokenize(
        "building ceiling clothing evening king morning painting railing ring spring string swing "
        "thing wedding wing"
    )
)


class Clause(NamedTuple):
    """A clause: `verb` is "is" or "are"."""

    subject: tuple[str, ...]
    verb: str
    predicate: tuple[str, ...]


def parse_clause(caption: str) -> Clause | None:
    """Read a caption as a clause; None where it is none.

    `SUBJECT is PREDICATE`, `there is SUBJECT PREDICATE` and `SUBJECT VERBing ...` are clauses.

    >>> parse_clause("there is a red circle above a star")
    Clause(subject=('a', 'red', 'circle'), verb='is', predicate=('above', 'a', 'star'))
    >>> parse_clause("a red circle and a star")
    """
    words = tokenize(caption)
    if words[:1] == ["there"] and words[1:2] in (["is"], ["are"]):
        verb, words = words[1], words[2:]
        cut = _first(words, lambda word: word in _PREPOSITIONS or _is_doing(word))
        return _clause(words[:cut], verb, words[cut:])
    cut = _first(words, lambda word: word in ("is", "are"))
    if cut < len(words):
        return _clause(words[:cut], words[cut], words[cut + 1 :])
    cut = _first(words, _is_doing)
    return _clause(words[:cut], _verb_for(words[:cut]), words[cut:])


def say_as(clause: Clause, form: Form, relative: str = "that") -> str | None:
    """Say a clause in a form; None where it has no such form.

    >>> clause = parse_clause("a man is riding a bike on the beach")
    >>> say_as(clause, "passive")
    'a bike is ridden by a man on the beach'
    >>> say_as(clause, "attributive", "which")
    'a man which is riding a bike on the beach'
    """
    subject, verb, predicate = clause
    said: tuple[str, ...] | None
    if form == "active":
        said = (*subject, verb, *predicate)
    elif form == "passive":
        said = _passive(clause)
    elif form == "attributive":
        said = (*subject, relative, verb, *predicate)
    else:
        said = (*subject, *predicate)
    return None if said is None else " ".join(said)


def _passive(clause: Clause) -> tuple[str, ...] | None:
    """Exchange subject and object; what follows the object stays at the end."""
    link: tuple[str, ...] | None = None
    after: tuple[str, ...] = ()
    if clause.predicate[0] in _PARTICIPLES:
        link, after = (_PARTICIPLES[clause.predicate[0]], "by"), clause.predicate[1:]
    for relation, converse in _CONVERSES.items():
        if clause.predicate[: len(relation)] == relation:
            link, after = converse, clause.predicate[len(relation) :]
    cut = _first(after, lambda word: word in _PREPOSITIONS or _is_doing(word))
    thing, rest = after[:cut], after[cut:]
    if link is None or not thing:
        return None
    return (*thing, _verb_for(thing), *link, *clause.subject, *rest)


def _clause(subject: Sequence[str], verb: str, predicate: Sequence[str]) -> Clause | None:
    if not subject or not predicate or subject[-1] in (*RELATIVE_PRONOUNS, "who", "and"):
        return None
    return Clause(tuple(subject), verb, tuple(predicate))


def _verb_for(thing: Sequence[str]) -> str:
    """Choose between "is" and "are"."""
    if not thing or thing[0] in _SINGULAR:
        return "is"
    ends_in_s = thing[-1].endswith("s") and not thing[-1].endswith(("ss", "cross"))
    return "are" if thing[0] in _PLURAL or ends_in_s else "is"


def _is_doing(word: str) -> bool:
    return word.endswith("ing") and word not in _NO_VERBS


def _first(words: Sequence[str], wanted: Callable[[str], bool]) -> int:
    """Return the place of the first word that is wanted; the number of words where none is."""
    return next((place for place, word in enumerate(words) if wanted(word)), len(words))
