"""Targets in several sentence forms, of the contents of captions; what a victim cannot say."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.captions.captioner import Captioner, Params, caption_log_probability
from jaxadv.captions.target import PartialCaption, TargetError, parse_target
from jaxadv.data.sentence_forms import EXAMPLES, FORMS, RELATIVE_PRONOUNS, parse_clause, say_as
from jaxadv.errors import InputError
from jaxadv.vocabulary import Vocabulary, tokenize

CAPTIONS, PAPER, GIVEN = "captions", "paper", "given"


class Sentence(NamedTuple):
    """A sentence that an attack aims at.

    Attributes:
      image: number of the picture.
      content: number of what is said among the picture's; its forms share it.
      source: `CAPTIONS` (predicted on another picture), `PAPER` (its Figure 4) or `GIVEN` (the
        caller's).
      form: one of `sentence_forms.FORMS`.
      text: the sentence.
    """

    image: int
    content: int
    source: str
    form: str
    text: str


class Unsayable(NamedTuple):
    """A sentence that a victim cannot say: for want of words, or because it is too long."""

    sentence: Sentence
    missing: tuple[str, ...]


class SentenceTargets(NamedTuple):
    """Sentences with their targets, and those that have none."""

    sentences: list[Sentence]
    targets: list[PartialCaption]
    unsayable: list[Unsayable]


def check_contents(texts: Sequence[str]) -> None:
    """Refuse what cannot be put into sentence forms.

    Raises:
      InputError: one of them is no clause.
    """
    for text in texts:
        if not forms_of(text):
            raise InputError(f"content {text!r}: must be a clause, like 'a man is holding a dog'")


def choose_sentences(
    captions: Sequence[str],
    attacked: Sequence[int],
    per_image: int,
    vocabulary: Vocabulary,
    seed: int = 0,
    given: Sequence[str] = (),
) -> list[Sentence]:
    """Choose contents for each picture, and say each in all its forms.

    A picture gets `per_image` different contents of captions predicted on other pictures, drawn
    among those that have a passive that the victim can say as long as there are any, one of the
    paper's examples, and one of those that are given, in turn.

    Args:
      captions: what the victim says of each picture.
      attacked: which pictures are attacked.
      per_image: contents a picture, in addition to the paper's.
      vocabulary: the victim's, for a relative pronoun that it knows, if there is one.
      seed: of the choice; a picture's sentences do not depend on which others are attacked.
      given: further contents, as active sentences.

    Raises:
      InputError: one of them is no clause.
    """
    relative = next((w for w in RELATIVE_PRONOUNS if w in vocabulary), RELATIVE_PRONOUNS[0])
    of_each = [forms_of(caption, relative) for caption in captions]
    check_contents(given)
    extra = [forms_of(text, relative) for text in given]
    chosen = []
    for image in attacked:
        own = of_each[image].get("active")
        others = {f["active"]: f for f in of_each if f and f["active"] != own}
        every = [others[active] for active in sorted(others)]
        drawn = np.random.default_rng([seed, image, 1]).permutation(len(every))
        in_order = sorted(drawn, key=lambda number: not _has_passive(every[number], vocabulary))
        contents = [(CAPTIONS, every[number]) for number in in_order[:per_image]]
        contents.append((PAPER, {**EXAMPLES[image % len(EXAMPLES)]}))
        if extra:
            contents.append((GIVEN, extra[image % len(extra)]))
        for content, (source, forms) in enumerate(contents):
            chosen += [Sentence(image, content, source, form, forms[form]) for form in forms]
    return chosen


def forms_of(caption: str, relative: str = "that") -> dict[str, str]:
    """Say a caption in all forms that it has; nothing where it is no clause.

    >>> list(forms_of("a star is in the middle"))
    ['active', 'attributive', 'reduced']
    """
    clause = parse_clause(caption)
    if clause is None:
        return {}
    said = ((form, say_as(clause, form, relative)) for form in FORMS)
    return {form: text for form, text in said if text is not None}


def target_sentences(
    sentences: Sequence[Sentence], vocabulary: Vocabulary, max_length: int
) -> SentenceTargets:
    """Turn sentences into targets; a content whose active form cannot be said is left out whole."""
    found = SentenceTargets([], [], [])
    wanting = {s: _missing(s.text, vocabulary) for s in sentences}
    actives = {
        (s.image, s.content): (missing, _target(s.text, vocabulary, max_length, missing))
        for s, missing in wanting.items()
        if s.form == "active"
    }
    for sentence, missing in wanting.items():
        without, active = actives[sentence.image, sentence.content]
        target = _target(sentence.text, vocabulary, max_length, missing)
        if active is None or target is None:
            found.unsayable.append(Unsayable(sentence, missing or without))
        else:
            found.sentences.append(sentence)
            found.targets.append(target)
    return found


def _has_passive(forms: dict[str, str], vocabulary: Vocabulary) -> bool:
    return "passive" in forms and not _missing(forms["passive"], vocabulary)


def _missing(text: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in tokenize(text) if word not in vocabulary))


def _target(
    text: str, vocabulary: Vocabulary, max_length: int, missing: Sequence[str]
) -> PartialCaption | None:
    try:
        return None if missing else parse_target(text, vocabulary, max_length)
    except TargetError:  # too long
        return None


def log_probabilities_of(
    victim: Captioner,
    params: Params,
    images: Sequence[np.ndarray],
    which: Sequence[int],
    targets: Sequence[PartialCaption],
    batch: int = 50,
) -> np.ndarray:
    """Return `ln P(S | I)` of complete captions on pictures as they are (eq. 1); f32[n].

    Args:
      victim: whose; a captioner.
      params: its weights.
      images: f32[H, W, 3] each; encoded once each.
      which: for each target the number of its picture.
      targets: complete captions.
      batch: how many at once.
    """

    @jax.jit
    def measure(
        params: Params, images: jax.Array, which: jax.Array, tokens: jax.Array
    ) -> jax.Array:
        features = jax.lax.map(lambda i: victim.encode(params, i), images, batch_size=batch)

        def one(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
            here = jax.tree.map(lambda x: x[pair[0]], features)
            return caption_log_probability(victim, params, here, pair[1])

        return jnp.asarray(jax.lax.map(one, (which, tokens), batch_size=batch))

    if not targets:
        return np.zeros(0, np.float32)
    tokens = jnp.stack([target.tokens for target in targets])
    return np.asarray(measure(params, jnp.stack(list(images)), jnp.asarray(list(which)), tokens))
