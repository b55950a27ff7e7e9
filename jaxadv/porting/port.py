"""From foreign files to a victim in `ported_weights/`: read, fit, save."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.data.lexicon import Lexicon
from jaxadv.formats.errors import PortingError, listed
from jaxadv.porting.fitting import Arrays, Mapped, Misfit, fit
from jaxadv.porting.hash_tables import (
    MEAN_IMAGE,
    fit_dcmh,
    fit_pooled,
    fit_ssah,
    fit_vgg_f,
    mean_image,
    sizes_of_dcmh,
    sizes_of_ssah,
)
from jaxadv.porting.parity import parity_error
from jaxadv.porting.readers import parts, read
from jaxadv.porting.suggestions import fitting
from jaxadv.porting.tables import DECODERS, SCORES, captioner_table, classifier_table, head_of
from jaxadv.victims import zoo
from jaxadv.victims.architectures import (
    Architecture,
    CaptionerArchitecture,
    ClassifierArchitecture,
    HasherArchitecture,
    Names,
)
from jaxadv.victims.nets.hash_net import PooledFeatures
from jaxadv.victims.nets.vgg_f import VggF

MOST_WORDS = 1_000_000  # that a damaged file is given names for


class Source(NamedTuple):
    """A file that weights came from.

    A public checkpoint has the `address` that it was fetched from, and what its `owner_says` of its
    SHA-256.
    """

    file: str
    bytes: int
    sha256: str
    address: str = ""
    owner_says: str = ""


class Ported(NamedTuple):
    """What a victim is, what its numbers mean, how it was mapped, and where it came from.

    `revision` is the commit of a model of the Hub.
    """

    architecture: Architecture
    names: Names
    variables: Any
    mapped: list[Mapped]
    sources: list[Source]
    revision: str = ""

    @property
    def origin(self) -> dict[str, Any]:
        """What a victim's record says of where it came from."""
        revision = {"revision": self.revision} if self.revision else {}
        files = [{k: v for k, v in file._asdict().items() if v != ""} for file in self.sources]
        return {**revision, "files": files}


def port(
    files: Sequence[Path], architecture: Architecture, words: Lexicon | Names | None = None
) -> Ported:
    """Turn the files of a victim, all its parts together, into Flax variables.

    Args:
      files: the checkpoints. A hasher's take `imagenet-vgg-f.mat` along for its mean image.
      architecture: a published one; how many bits a hasher has is read off its checkpoint.
      words: a captioner's lexicon; names of a classifier's `classes`, of a hasher's `tags` and
        `classes`. Those that are left out are numbered.

    Raises:
      PortingError: a file cannot be read or holds something else, or no checkpoints of the
        architecture are known; nothing is written.
    """
    _check_known(architecture)

    def entries(file: Path) -> Arrays:
        found = read(file)
        if isinstance(architecture, HasherArchitecture) and MEAN_IMAGE in found:
            return mean_image(found, str(file))
        return found

    arrays = together(files, entries)
    source = ", ".join(str(file) for file in files)
    try:
        fitted = _fit(arrays, architecture, words, source)
    except Misfit as problem:
        suits = fitting(arrays)
        hint = f"; its entries are those of {suits}" if suits else ""
        raise PortingError(f"{problem}{hint}") from None
    return fitted._replace(sources=[source_of(part) for file in files for part in parts(file)])


def together(files: Sequence[Path], entries: Callable[[Path], Arrays] = read) -> Arrays:
    """Read the parts of a checkpoint.

    Raises:
      PortingError: a file cannot be read, or has an entry that another one has.
    """
    arrays: Arrays = {}
    for file in files:
        found = entries(file)
        if twice := sorted(arrays.keys() & found.keys()):
            raise PortingError(f"{file}: also in another of the files: {listed(twice)}")
        arrays |= found
    return arrays


def _fit(
    arrays: Arrays, architecture: Architecture, words: Lexicon | Names | None, source: str
) -> Ported:
    if isinstance(architecture, CaptionerArchitecture):
        return _fit_captioner(arrays, architecture, words, source)
    if isinstance(words, Lexicon):
        raise PortingError(f"vocabulary: a {architecture.kind} has names, not a lexicon")
    if isinstance(architecture, ClassifierArchitecture):
        return _fit_classifier(arrays, architecture, words or {}, source)
    assert isinstance(architecture, HasherArchitecture)
    return _fit_hasher(arrays, architecture, words or {}, source)


def read_features(file: Path, architecture: HasherArchitecture) -> Any:
    """Read the weights that a hasher's pictures are seen with before it is trained.

    Args:
      file: MatConvNet's `imagenet-vgg-f.mat` for CNN-F, torchvision's checkpoint for a ResNet.
      architecture: the hasher's.

    Returns:
      the variables of its `features`, by collection.

    Raises:
      PortingError: the file cannot be read or does not fit; or no file of these features is known.
    """
    net, source = architecture.features(), str(file)
    if not isinstance(net, VggF | PooledFeatures):
        raise PortingError(f"--backbone-weights: no file of {architecture.backbone!r} is known")
    tree = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(architecture.image_shape))
    arrays = read(file)
    if isinstance(net, VggF):
        return fit_vgg_f(arrays, net, tree, source)[0]
    return fit_pooled(arrays, tree, source)[0]


def is_known(architecture: Architecture) -> bool:
    """Whether there are checkpoints of an architecture that `port` reads."""
    if isinstance(architecture, CaptionerArchitecture):
        return architecture.decoder in (*DECODERS, "im2txt")
    if isinstance(architecture, HasherArchitecture):
        return architecture.method != "dual" and architecture.backbone.startswith("vgg-f")
    return isinstance(architecture, ClassifierArchitecture)


def _check_known(architecture: Architecture) -> None:
    if not is_known(architecture):
        raise PortingError(
            f"no checkpoints of {architecture.parts} are known; jaxadv victims lists the "
            "architectures that can be ported"
        )


def _fit_captioner(
    arrays: Arrays, architecture: CaptionerArchitecture, words: Any, source: str
) -> Ported:
    """Lay out a captioner: backbone and decoder."""
    if not isinstance(words, Lexicon):
        raise PortingError("vocabulary: a captioner needs its words")
    lexicon = words
    im2txt = architecture.decoder == "im2txt"
    if im2txt == (lexicon.begin == lexicon.end):
        wanted = "im2txt's word_counts.txt" if im2txt else "JSON, not im2txt's"
        raise PortingError(f"vocabulary: that of the decoder {architecture.decoder} is {wanted}")
    if im2txt and SCORES in arrays:
        lexicon = lexicon.filled(min(arrays[SCORES].size, MOST_WORDS))
    _check_words(arrays, lexicon, im2txt, source)
    names = {"vocabulary": lexicon.vocabulary.words}
    tree = architecture.shapes(names)
    table = captioner_table(architecture, tree, lexicon, arrays)
    return Ported(architecture, names, *fit(arrays, table, tree, source), sources=[])


def _check_words(arrays: Arrays, lexicon: Lexicon, im2txt: bool, source: str) -> None:
    """Refuse words that are not as many as the checkpoint has scores."""
    biases = arrays.get(SCORES if im2txt else "logit.bias")
    if biases is not None and biases.size != lexicon.vocabulary.size:
        raise PortingError(
            f"{source}: scores of {biases.size - 1:,} words, but the vocabulary has "
            f"{lexicon.vocabulary.size - 1:,}"
        )


def _fit_classifier(
    arrays: Arrays, architecture: ClassifierArchitecture, words: Names, source: str
) -> Ported:
    """Lay out a classifier of as many classes as its last layer has."""
    head = head_of(architecture)
    if head in arrays and not arrays[head].size:
        raise PortingError(f"{source}: a last layer of no classes ({head})")
    count = arrays[head].size if head in arrays else len(words.get("classes", ())) or 1
    names = {"classes": _named(words, "classes", count, source)}
    tree = architecture.shapes(names)
    table = classifier_table(architecture, tree, arrays)
    return Ported(architecture, names, *fit(arrays, table, tree, source), sources=[])


def _fit_hasher(
    arrays: Arrays, architecture: HasherArchitecture, words: Names, source: str
) -> Ported:
    """Lay out a hasher over CNN-F, of as many bits, tags and classes as its checkpoint has."""
    if architecture.method == "ssah":
        bits, tags, classes = sizes_of_ssah(arrays, architecture.units, len(architecture.windows))
    else:
        bits, tags = sizes_of_dcmh(arrays, architecture.units)
        classes = len(words.get("classes", ()))  # its networks know nothing of classes
    names = {
        "tags": _named(words, "tags", tags, source),
        "classes": _named(words, "classes", classes, source),
    }
    if not bits or not tags:
        raise PortingError(f"{source}: not a checkpoint of {architecture.method}")
    made = dataclasses.replace(architecture, bits=bits)
    tree = made.shapes(names)
    if made.method == "ssah":
        return Ported(made, names, *fit_ssah(arrays, tree, source), sources=[])
    naming: Literal["pytorch", "tensorflow"] = "tensorflow"
    if made.backbone == "vgg-f-pytorch":
        naming = "pytorch"
    return Ported(made, names, *fit_dcmh(arrays, tree, source, naming), sources=[])


def _named(words: Names, what: str, count: int, source: str) -> tuple[str, ...]:
    """Return as many names as there are outputs; numbers, where none were given."""
    if what not in words:
        return tuple(str(number) for number in range(min(count, MOST_WORDS)))
    if count and len(words[what]) != count:
        raise PortingError(f"{source}: {count} {what}, but {len(words[what])} names of {what}")
    return tuple(words[what])


def save(
    folder: Path, ported: Ported, licence: str = "unknown", reference: Path | None = None
) -> None:
    """Write the victim's folder, whole or not at all.

    Args:
      folder: where.
      ported: the victim.
      licence: of the checkpoint.
      reference: outputs of the original network (see `parity`), to be compared with first; the
        largest difference goes into the record.

    Raises:
      PortingError: the victim's outputs are not those of the reference.
    """
    parity = None
    if reference is not None:
        functions = ported.architecture.functions(ported.names)
        parity = parity_error(functions, ported.variables, reference)
    zoo.save(
        folder,
        ported.architecture,
        ported.names,
        ported.variables,
        source="jaxadv port",
        licence=licence,
        **ported.origin,
        parity_error=parity,
    )


def source_of(file: Path) -> Source:
    """Say of a file that weights came from how long it is, and its SHA-256."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return Source(file.name, file.stat().st_size, digest.hexdigest())
