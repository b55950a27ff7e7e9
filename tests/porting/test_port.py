"""Vocabularies, records and the command; the networks' parity: test_captioners."""

import json

import jax
import jax.numpy as jnp
import pytest
from commands import call

from jaxadv.data.vocabulary import Vocabulary
from jaxadv.porting.errors import PortingError
from jaxadv.porting.readers import read
from jaxadv.porting.vocabulary import read_vocabulary
from jaxadv.victims import zoo
from jaxadv.victims.nets.caption_net import initial_variables
from jaxadv.victims.zoo import Architecture, VictimError

SMALL = Architecture("show-tell", "resnet-small", units=4, max_length=4, side=16)


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
    assert read_vocabulary(written(tmp_path / "v.json", content)).words == ("a", "cat", "sits")


def test_vocabulary_of_dataset_coco_counts_as_its_captioners_did(tmp_path):
    sentence = {"tokens": ["a", "zebra", "a"]}
    images = [{"sentences": [sentence] * 6}, {"sentences": [{"tokens": ["once"]}]}]
    assert read_vocabulary(written(tmp_path / "d.json", {"images": images})).words == (
        "a",
        "zebra",
        "UNK",
    )


def test_vocabulary_of_the_attacked_captioners(real_data):
    words = read_vocabulary(real_data / "coco_attack_split" / "vocab_dict.json")
    assert words.size == 9488
    assert words.words[5987] == "tacos"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "not JSON"),
        ({"1": "a", "3": "b"}, "without gaps"),
        ([], "not a vocabulary"),
        (["a", 3], "every word must be a text"),
        ({"images": [{"captions": []}]}, "dataset_coco.json"),
        ("3", "give ix_to_word"),
    ],
)
def test_other_files_are_no_vocabulary(content, line, tmp_path):
    path = written(tmp_path / "v.json", content)
    with pytest.raises(PortingError, match=line) as caught:
        read_vocabulary(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_unknown_format_names_the_known_ones(tmp_path):
    with pytest.raises(PortingError, match=r"unknown format '\.onnx'.*\.pth.*\.safetensors"):
        read(tmp_path / "net.onnx")


def test_changed_weights_are_noticed(tmp_path):
    vocabulary = Vocabulary(("a", "cat"))
    params = initial_variables(SMALL.network(3), SMALL.image_shape, jax.random.key(0))
    zoo.save(tmp_path / "v", SMALL, vocabulary, params)
    zoo.load(str(tmp_path / "v"))
    other = {**params, "params": {**params["params"]}}
    other["params"]["decoder"] = {**params["params"]["decoder"]}
    other["params"]["decoder"]["logit"] = {
        name: jnp.asarray(value) + 1 for name, value in params["params"]["decoder"]["logit"].items()
    }
    zoo.save(tmp_path / "w", SMALL, vocabulary, other)
    (tmp_path / "v" / "record.json").write_bytes((tmp_path / "w" / "record.json").read_bytes())
    with pytest.raises(VictimError, match="changed since"):
        zoo.load(str(tmp_path / "v"))


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"--architecture": "resnet9"}, "att2in2-resnet101"),
        ({"--vocabulary": "absent.json"}, "absent.json: cannot be read"),
        ({"file": "absent.pth"}, "absent.pth"),
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
