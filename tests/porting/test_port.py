"""Vocabularies, records and the command; the networks' parity: test_captioners."""

import json

import jax
import jax.numpy as jnp
import pytest
from helpers.commands import call

from jaxadv.data.lexicon import Lexicon, read_lexicon, read_names
from jaxadv.errors import InputError
from jaxadv.porting.port import is_known
from jaxadv.victims import zoo
from jaxadv.victims.architectures import PUBLISHED, CaptionerArchitecture, VictimError
from jaxadv.victims.nets.caption_net import initial_variables
from jaxadv.victims.public import CHECKPOINTS
from jaxadv.vocabulary import UnknownWordError, Vocabulary

SMALL = CaptionerArchitecture("show-tell", "resnet-small", units=4, max_length=4, side=16)


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "content",
    [
        {"ix_to_word": {"2": "cat", "1": "a", "3": "sits"}, "images": []},
        {"3": "sits", "1": "a", "2": "cat"},
        ["a", "cat", "sits"],
    ],
    ids=["cocotalk", "numbered", "list"],
)
def test_vocabularies(content, tmp_path):
    lexicon = read_lexicon(written(tmp_path / "v.json", content))
    assert lexicon == Lexicon(Vocabulary(("a", "cat", "sits")))
    assert lexicon.embedded.tolist() == lexicon.scored.tolist() == [0, 1, 2, 3]


def test_vocabulary_of_dataset_coco_counts_as_its_captioners_did(tmp_path):
    sentence = {"tokens": ["a", "zebra", "a"]}
    images = [{"sentences": [sentence] * 6}, {"sentences": [{"tokens": ["once"]}]}]
    lexicon = read_lexicon(written(tmp_path / "d.json", {"images": images}))
    assert lexicon.vocabulary.words == ("a", "zebra", "UNK")


def test_vocabulary_of_the_attacked_captioners(real_data):
    words = read_lexicon(real_data / "coco_attack_split" / "vocab_dict.json").vocabulary
    assert words.size == 9488
    assert words.words[5987] == "tacos"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "not JSON"),
        ({"1": "a", "3": "b"}, "without gaps"),
        ([], "not a vocabulary"),
        (["a", 3], "word 2: must be a text, not 3"),
        ({"images": [{"captions": []}]}, "dataset_coco.json"),
        ("3", "give ix_to_word"),
    ],
)
def test_other_files_are_no_vocabulary(content, line, tmp_path):
    path = written(tmp_path / "v.json", content)
    with pytest.raises(InputError, match=line) as caught:
        read_lexicon(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


COUNTS = "a 969108\n<S> 586368\n. 440479\n</S> 586368\n's 7154\n'' 1524\ncafé 4"
BYTES = """b'a' 969108
b'<S>' 586368
b'.' 440479
b'</S>' 586368
b"'s" 7154
b"''" 1524
b'caf\\xc3\\xa9' 4
"""


@pytest.mark.parametrize("content", [COUNTS, COUNTS + "\n", COUNTS.replace("\n", "\r\n"), BYTES])
def test_word_counts_of_im2txt(content, tmp_path):
    path = tmp_path / "word_counts.txt"
    path.write_bytes(content.encode())
    lexicon = read_lexicon(path)
    assert lexicon.vocabulary.words == ("a", "<S>", ".", "'s", "''", "café", "<UNK>")
    assert (lexicon.begin, lexicon.end) == (1, 3)
    assert lexicon.scored.tolist() == [3, 0, 1, 2, 4, 5, 6, 7]
    assert lexicon.embedded.tolist() == [1, 0, 1, 2, 4, 5, 6, 7]


def test_rows_without_words_are_filled():
    lexicon = Lexicon(Vocabulary(("a", "<S>", "<UNK>")), begin=2, end=0)
    filled = lexicon.filled(6)
    assert filled.vocabulary.words == ("a", "<S>", "<UNK>", "<unused-4>", "<unused-5>")
    assert filled.scored.tolist() == [0, 1, 2, 3, 4, 5]
    assert filled.embedded.tolist() == [2, 1, 2, 3, 4, 5]
    assert lexicon.filled(4) == lexicon.filled(3) == lexicon
    with pytest.raises(UnknownWordError):
        filled.vocabulary.encode("unused-4")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "line 1 is not a word and its count"),
        ("a 3\n\n<S> 2\n</S> 2", "line 2 is not a word and its count, .*: ''"),
        ("a 3\n<S>\n</S> 2", "line 2 is not a word and its count, .*: '<S>'"),
        ("a 3\n<S> 2\n</S> 2\na b 2", "line 4 is not"),
        ("a 3\n</S> 2", "no <S>, so not im2txt's"),
        ("a 3\n<S> 2", "no </S>, so not im2txt's"),
        ("a 3\n<S> 2\n</S> 2\na 2", "word 'a' is there 2 times, as numbers 1, 4"),
        ("b'a' 3\nb'<S>' 2\n</S> 2", "no <S>"),
        ("b'\\xff' 3\nb'<S>' 2\nb'</S>' 2", "UTF-8"),
        ("b'é' 3\nb'<S>' 2\nb'</S>' 2", "literal"),
        ("b'a',b'' 3\nb'<S>' 2\nb'</S>' 2", "no <S>"),
        (b"\xff\xfea 3", "UTF-16"),
    ],
)
def test_other_files_are_no_word_counts(content, line, tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=line) as caught:
        read_lexicon(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_changed_weights_are_noticed(tmp_path):
    vocabulary = Vocabulary(("a", "cat"))
    params = initial_variables(SMALL.network(3), SMALL.image_shape, jax.random.key(0))
    zoo.save(tmp_path / "v", SMALL, {"vocabulary": vocabulary.words}, params)
    zoo.load(str(tmp_path / "v"))
    other = {**params, "params": {**params["params"]}}
    other["params"]["decoder"] = {**params["params"]["decoder"]}
    other["params"]["decoder"]["logit"] = {
        name: jnp.asarray(value) + 1 for name, value in params["params"]["decoder"]["logit"].items()
    }
    zoo.save(tmp_path / "w", SMALL, {"vocabulary": vocabulary.words}, other)
    (tmp_path / "v" / "record.json").write_bytes((tmp_path / "w" / "record.json").read_bytes())
    with pytest.raises(VictimError, match="changed since"):
        zoo.load(str(tmp_path / "v"))


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"--architecture": "resnet9"}, "att2in2-resnet101"),
        (
            {"--architecture": "transformer-vit-b16"},
            "no checkpoints of transformer-base over vit-b16 are known",
        ),
        ({"--vocabulary": "absent.json"}, "absent.json: cannot be read"),
        ({"file": "absent.pth"}, "absent.pth"),
        ({"file": "model.ckpt-7"}, "model.ckpt-7: cannot be read"),
    ],
)
def test_a_port_that_fails_leaves_nothing(changed, line, tmp_path):
    arguments = {
        "--architecture": "show-tell-resnet101",
        "--vocabulary": str(written(tmp_path / "v.json", ["a", "cat"])),
        "--name": "mine",
        "--out": str(tmp_path / "out"),
        **changed,
    }
    file = arguments.pop("file", "absent.pth")
    code, _, err = call("port", file, *(x for pair in arguments.items() for x in pair))
    assert code == 2
    assert line in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_victims_are_listed():
    code, out, _ = call("victims")
    assert code == 0
    for name in ("scenes-show-attend-tell", "scenes-scst", "att2in2-resnet101"):
        assert name in out


NAMES = {
    "twice": (b"crane\ncat\ncrane\n", "the class 'crane' is there 2 times, as numbers 1, 3: give"),
    "twice with blanks": (b"crane\n crane \n", "'crane' is there 2 times"),
    "twice in two forms": ("caf\u00e9\ncafe\u0301\n".encode(), "is there 2 times"),
    "many": (b"a\na\nb\nb\nc\nc\n", "'a' is there 2 times, as numbers 1, 2, and so are 2 others"),
    "escape": (b"cat\nd\x1b[2Jog\n", r"class 2, 'd\\x1b\[2Jog', is empty or holds control"),
    "UTF-16": ("cat".encode("utf-16"), "text in UTF-16"),
    "Latin-1": (b"caf\xe9\n", "not text in UTF-8"),
    "pickle": (b"\x80\x02]q\x00.", "a pickle, which is not read"),
    "empty": (b"\n \n", "no classes"),
    "number": (b'["cat", 3]', "class 2: must be a text, not 3"),
    "null": (b'["cat", null]', "class 2: must be a text, not null"),
    "blank": (b'["cat", " "]', "class 2, ' ', is empty"),
    "half": (b'["cat", "\\ud800"]', "lone surrogate"),
    "numbers": (b'{"0": "cat"}', "give a list of classes"),
    "tags twice": (b'{"tags": ["a", "a"], "classes": ["b"]}', "the tag 'a' is there 2 times"),
}


@pytest.mark.parametrize("what", NAMES)
def test_names_that_cannot_be_used(what, tmp_path):
    contents, says = NAMES[what]
    path = tmp_path / ("names.json" if contents[:1] in (b"[", b"{") else "names.txt")
    path.write_bytes(contents)
    with pytest.raises(InputError, match=says) as caught:
        read_names(path)
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).isprintable()


@pytest.mark.parametrize(
    "contents",
    [b"\xef\xbb\xbfcat\r\n\r\nBig  Dog\r\n", b'["cat", "Big  Dog"]', b"cat\rBig  Dog"],
    ids=["Windows", "JSON in a text", "old Mac"],
)
def test_names_as_people_save_them(contents, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(contents)
    assert read_names(path) == {"classes": ("cat", "Big  Dog")}


def test_names_that_differ_in_case_and_unicode_lines_are_names(tmp_path):
    path = written(tmp_path / "names.json", {"classes": ["Crane", "crane"], "tags": ["a b", "a,b"]})
    assert read_names(path) == {"classes": ("Crane", "crane"), "tags": ("a b", "a,b")}


WORDS = {
    "twice": (["a", "man", "a"], "the word 'a' is there 2 times, as numbers 1, 3"),
    "blank inside": (["a", "traffic light"], "word 2, 'traffic light', holds a blank"),
    "escape": (["a", "\x1b]0;x"], "holds control characters"),
    "word: number": ({"a": 1, "man": 2}, "word: number, the other way round"),
    "from 0": ({"0": "a", "1": "man"}, "numbered from 1, as 0 ends a caption"),
    "a gap": ({"1": "a", "3": "man"}, "missing are '2'"),
    "no list of tokens": ({"images": [{"sentences": [{"tokens": "cat"}]}]}, "dataset_coco.json"),
}


@pytest.mark.parametrize("what", WORDS)
def test_words_that_cannot_be_used(what, tmp_path):
    content, says = WORDS[what]
    with pytest.raises(InputError, match=says):
        read_lexicon(written(tmp_path / "words.json", content))


def test_words_under_vocab_are_read(tmp_path):
    path = written(tmp_path / "infos.json", {"vocab": {"1": "a", "2": "man"}, "opt": {}})
    assert read_lexicon(path).vocabulary.words == ("a", "man")


def test_available_checkpoints_have_whole_addresses_and_known_architectures():
    code, out, _ = call("victims", "--available")
    assert code == 0
    for checkpoint in CHECKPOINTS:
        assert checkpoint.where in out
        for name in checkpoint.architecture.partition(" (")[0].split(", "):
            assert is_known(PUBLISHED[name])


def test_an_existing_victim_is_replaced_by_force_alone(tmp_path, real_data):
    file = real_data / "resnet_cifar10" / "resnet20-12fca82f.th"
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    port = ["port", file, "--architecture", "resnet20-cifar", "--name", "x", "--out", tmp_path]
    code, out, err = call(*port)
    assert (code, err) == (0, "")
    assert "269,722 parameters, 10 classes, pictures of 32x32x3" in out
    assert "SHA-256 12fca82f" in out and f"next: jaxadv label --victim {tmp_path / 'x'}" in out
    assert call(*port)[0] == 0  # the same one
    code, _, err = call(*port, "--vocabulary", tmp_path / "names.txt")
    assert code == 2 and "give --force" in err and err.count("\n") == 1
    assert zoo.read_record(tmp_path / "x")[1]["classes"][0] == "0"
    assert call(*port, "--vocabulary", tmp_path / "names.txt", "--force")[0] == 0
    assert zoo.read_record(tmp_path / "x")[1]["classes"][0] == "a"
