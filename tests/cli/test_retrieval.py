"""The commands for hashers: what is found, attacked queries, the tables, one-line errors."""

import csv
import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call

from jaxadv.data import photographs, scenes
from jaxadv.data.images import read_image, write_png
from jaxadv.data.pairs import SCENE_CLASSES, SCENE_TAGS
from jaxadv.experiments import store
from jaxadv.victims import zoo
from jaxadv.victims.architectures import HasherArchitecture
from jaxadv.victims.nets.hash_net import initial_variables


def save_random(folder, bits=16, tags=SCENE_TAGS, seed=0, method="dcmh"):
    made = HasherArchitecture(method, "vgg-f-small", bits=bits, side=64, units=8)
    net = made.network(len(SCENE_CLASSES))
    variables = initial_variables(net, made.image_shape, len(tags), jax.random.key(seed))
    zoo.save(folder, made, {"tags": tags, "classes": SCENE_CLASSES}, variables)
    return folder


@pytest.fixture(scope="module")
def hasher(tmp_path_factory):
    """A hasher of scenes with random weights."""
    return save_random(tmp_path_factory.mktemp("hashers") / "random")


@pytest.fixture(scope="module")
def dual_encoder(hasher, tmp_path_factory):
    """A dual encoder with the weights of that hasher, which needs no network to be drawn."""
    victim = zoo.load(str(hasher))
    layers = victim.params["params"]
    heads = {"image_projection": "image_hash", "text_projection": "text_hash"}
    params = {
        **{name: layers[name] for name in ("features", "text_hidden")},
        **{name: {"kernel": layers[old]["kernel"]} for name, old in heads.items()},
        "log_scale": jnp.asarray(3.0),
    }
    made = dataclasses.replace(victim.architecture, method="dual")
    names = {"tags": SCENE_TAGS, "classes": SCENE_CLASSES}
    folder = tmp_path_factory.mktemp("hashers") / "dual"
    zoo.save(folder, made, names, {**victim.params, "params": params})
    return folder


@pytest.fixture
def scene_png(tmp_path):
    path = tmp_path / "scene.png"
    write_png(path, scenes.example(1, 0).picture)
    return path


SMALL = ["--database", "12"]


def attack(hasher, out, *more):
    start = ["attack", "retrieval", "--victim", hasher, "--out", out, "--iterations", "2", *SMALL]
    return call(*start, *more)


def test_retrieve_lists_the_nearest_of_both_modalities(hasher, scene_png):
    code, said, err = call("retrieve", "--victim", hasher, *SMALL, "--image", scene_png)
    assert code == 0, err
    assert "texts for" in said and "pictures for" in said and "16 bits, 12 scenes" in said
    pictures = said[said.index("pictures for") :].splitlines()
    first = next(line for line in pictures if "scene-1-" in line)
    assert "scene-1-0" in first and " 0 " in first  # it is one of them
    command = ["retrieve", "--victim", hasher, *SMALL, "--top", "3", "--text", "Big red circle"]
    code, said, err = call(*command)
    assert code == 0 and said.count("scene-1-") == 6, err


def test_dual_encoders_say_similarities(dual_encoder, scene_png, tmp_path):
    code, said, err = call("retrieve", "--victim", dual_encoder, *SMALL, "--image", scene_png)
    assert code == 0, err
    assert "similarity" in said and "16 numbers, 12 scenes" in said
    pictures = said[said.index("pictures for") :].splitlines()
    first = next(line for line in pictures if "scene-1-" in line)
    assert "scene-1-0" in first and " 1 " in first  # it is one of them
    out, more = tmp_path / "out", ["--modality", "text", "--bound", "0.3"]
    code, _, err = attack(dual_encoder, out, *more, "--scenes", "2", "--learning-rate", "0.2")
    assert code == 0, err
    entry = json.loads((out / "scene-1-0.json").read_text())
    found = [hit["similarity"] for hit in entry["after"]["pictures"]]
    assert found == sorted(found, reverse=True) and -1 <= found[-1] < found[0] <= 1.00001
    assert entry["success_8bit"] != entry["after"]["pictures"][0]["relevant"]


def test_embeddings_have_no_signs_to_show(dual_encoder, hasher, tmp_path):
    evaluate = ["evaluate", "retrieval", "--victim", hasher, "--victim", dual_encoder]
    attack = ["attack", "retrieval", "--scenes", "1", "--victim", dual_encoder]
    for command in (evaluate, attack):
        code, _, err = call(*command, "--codes", "signs", "--out", tmp_path / "out")
        assert code == 2 and err.count("\n") == 1
        assert "codes 'signs': this victim compares embeddings, which have none" in err


def test_attack_on_pictures_writes_them_records_and_a_figure(hasher, scene_png, tmp_path):
    out = tmp_path / "out"
    code, said, err = attack(
        hasher, out, scene_png, "--labels", "circle,star", "--learning-rate", "4"
    )
    assert code == 0, err
    assert sorted(p.name for p in out.iterdir()) == [
        "figure.png", "scene.adversarial.png", "scene.benign.png", "scene.json",
    ]  # fmt: skip
    entry = json.loads((out / "scene.json").read_text())
    assert entry["labels"] == "circle, star" and entry["labels_given"]
    assert 0 < entry["D"] <= 8 / 255
    gap = np.abs(read_image(out / "scene.adversarial.png") - read_image(scene_png))
    assert 0 < gap.max() <= 8.51 / 255
    assert ("not fooled? try --intra 0" in said) == (not entry["success_8bit"])
    first = entry["after"]["texts"][0]
    assert entry["success_8bit"] != first["relevant"]
    command = ["retrieve", "--victim", hasher, *SMALL, "--image", out / "scene.adversarial.png"]
    code, said, _ = call(*command, "--top", "1")
    assert code == 0 and first["item"] in said  # the saved picture finds what the record says


def test_attack_on_texts_keeps_them_in_range(hasher, tmp_path):
    out = tmp_path / "out"
    more = ["--modality", "text", "--bound", "0.4", "--learning-rate", "0.3", "--toward", "ring"]
    code, _, err = attack(hasher, out, *more, "--text", "big red circle", "--text", "star, grass")
    assert code == 0, err
    entry = json.loads((out / "text-1.json").read_text())
    bag = np.array(entry["adversarial"])
    given = np.isin(SCENE_TAGS, ["big", "red", "circle"])
    assert bag.min() >= 0 and bag.max() <= 1 and 0.1 < np.abs(bag - given).max() <= 0.4 + 1e-6
    assert not entry["labels_given"] and entry["labels"] and entry["toward"] == ["ring"]
    assert entry["success_8bit"] == ("ring" in entry["after"]["pictures"][0]["labels"])
    assert (out / "text-2.json").exists() and (out / "figure.png").exists()


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--text", "red circel", "--modality", "text"], "unknown tag 'circel': did you mean"),
        (["--text", " , ", "--modality", "text"], "no tag; give some of the 22 tags"),
        (["--text", "red"], "texts are attacked with --modality text"),
        ([], "give pictures, or --text, or --scenes"),
        (["--scenes", "1", "--labels", "circle"], "--labels: is not read with --scenes"),
        (["--modality", "text", "--text", "red", "--labels", "circel"], "did you mean 'circle'"),
        (["--scenes", "1", "--toward", "dog"], "unknown label 'dog'"),
        (["--scenes", "1", "--modality", "sound"], "must be one of image, text"),
        (["--scenes", "1", "--norm", "l3"], "must be one of l1, l2, linf"),
        (["--scenes", "1", "--bound", "nan"], "must be finite"),
        (["--scenes", "1", "--intra", "-1"], "must be finite and not negative"),
    ],
)
def test_wrong_input_is_one_line(hasher, tmp_path, more, line):
    code, _, err = attack(hasher, tmp_path / "out", *more)
    assert code == 2 and line in err and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_evaluate_prints_the_papers_columns(hasher, tmp_path):
    """A hasher, and a dual encoder of another length: tables, curves, ablation and transfer."""
    other = save_random(tmp_path / "other", bits=32, seed=1, method="dual")
    out = tmp_path / "table"
    command = ["evaluate", "retrieval", "--victims", f"{hasher},{other}", "--iterations", "1,3"]
    size = ["--queries", "5", "--database", "9", "--batch", "auto", "--text-bound", "0.3"]
    code, said, err = call(*command, *size, "--modality", "text", "--out", out)
    assert code == 0, err
    for words in ("batch 5: ", "MAP, regular", "T2I", "T2T", "no intra-modal", "nothing is"):
        assert words in said
    regular, attacked, moved = json.loads((out / "table.json").read_text())["tables"]
    assert {row["victim"]: row["K"] for row in regular["rows"]} == {"random": 16, "other": 32}
    cells = attacked["rows"]
    for name in ("random", "other"):
        mine = [row for row in cells if row["victim"] == name]
        assert sorted((row["attack"], row["steps"]) for row in mine) == [
            ("CMLA", 1), ("CMLA", 3), ("no intra-modal", 3), ("none", 0),
        ]  # fmt: skip
        assert {row["n"] for row in mine} == {5}
    assert all((0 < row["D"] <= 0.3) == (row["steps"] > 0) for row in cells)
    matrix = {row[""]: row for row in moved["rows"]}
    assert matrix.keys() == {"nothing", "random", "other"}
    assert all(0 <= row[name] <= 1 for row in matrix.values() for name in ("random", "other"))
    records = list(store.read(out))
    assert len(records) == 2 * 3 * 5
    for row in records:  # what is found first is what precision is of
        assert row["found_benign"][0]["relevant"] == row["precision_at_benign"][0]
        assert len(row["found_8bit"]) == 5 and row["found_8bit"][0]["labels"]
    for name, points in (("precision_recall.csv", 17 + 33), ("precision_at.csv", 2 * 3)):
        with (out / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        # benign, after one and three steps, and without the intra-modal term
        assert len(rows) == 4 * points and all(0 <= float(r["precision"]) <= 1 for r in rows)
    assert (out / "curves.png").stat().st_size > 1000
    code, said, err = call("table", "cmla-2", out)
    assert code == 0 and "T2I" in said and "paper" in said, err


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--iterations", "200,100"], "give rising numbers"),
        (["--iterations", "0"], "give rising numbers"),
        (["--iterations", "many"], "give rising numbers"),
        (["--modality", "sound"], "must be one of image, text, both"),
        (["--text-bound", "-1"], "must be positive"),
    ],
)
def test_wrong_settings_are_one_line(hasher, tmp_path, more, line):
    command = ["evaluate", "retrieval", "--victim", hasher, "--out", tmp_path / "table"]
    code, _, err = call(*command, *more)
    assert code == 2 and line in err and len(err.strip().splitlines()) == 1


def test_victims_must_be_hashers_of_scenes(tmp_path):
    strange = save_random(tmp_path / "strange", tags=(*SCENE_TAGS, "dog"))
    out = ["--out", tmp_path / "table"]
    code, _, err = call("evaluate", "retrieval", "--victim", strange, *out)
    assert code == 2 and "does not know the tags and labels of scenes" in err
    code, _, err = call("retrieve", "--victim", "scenes-tagger", "--text", "red")
    assert code == 2 and "is a classifier, not a hasher" in err


def test_a_hasher_of_photographs_searches_those_that_are_shipped():
    picture = photographs.path("astronaut")
    code, out, _ = call(
        *["retrieve", "--victim", "photos-hasher", "--top", "1", "--image"], picture
    )
    assert code == 0 and "shipped photographs searched" in out
    assert out.count("astronaut") >= 2  # it finds itself, and its own text


def test_other_data_are_searched_by_a_hasher_that_knows_its_words(tmp_path):
    for name in ("astronaut", "boats", "coffee"):
        shutil.copy(photographs.path(name), tmp_path)
    said = {
        "astronaut.jpg": ["a woman smiles", "a woman in orange"],
        "boats.jpg": ["boats on the water", "a lake"],
        "coffee.jpg": ["a cup on a table", "coffee on a plate"],
    }
    lines = [f"{name},{text}" for name, texts in said.items() for text in texts]
    (tmp_path / "captions.txt").write_text("\n".join(["image,caption", *lines]))
    words = ["retrieve", "--victim", "photos-hasher", "--top", "1", "--text", "water", "--data"]
    code, out, err = call(*words, tmp_path)
    assert code == 0, err
    assert "3 pairs of --data searched" in out and "boats" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("retrieve --victim photos-hasher --text dog --database 9", "--database: is not read with"),
        ("retrieve --victim photos-hasher --text dog --data scenes", "does not know the tags"),
        ("attack retrieval --victim photos-hasher --scenes 1 --out x", "--scenes: is not read"),
    ],
)
def test_what_is_of_scenes_is_refused_where_photographs_are_searched(words, message, tmp_path):
    code, _, err = call(*words.replace("--out x", f"--out {tmp_path / 'out'}").split())
    assert code == 2 and message in err and err.count("\n") == 1
