"""The bench measures what it says it does: sizes are tiny here, so its ratios mean nothing."""

import json
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.commands import call

from benchmarks import accelerator, passes, report, streaming
from benchmarks.setting import Setting, hasher, sentences, speaker, tagger
from benchmarks.timing import compare, interleaved
from jaxadv.captions.gem import gem
from jaxadv.core.run import run
from jaxadv.hashing.cmla import cmla
from jaxadv.labels.tkmia import tkmia

TINY = Setting("resnet-small", 32, batch=2, steps=1, units=8)


def test_sides_are_timed_in_turns_and_the_first_pass_is_left_out():
    called = []
    sides = {name: partial(called.append, name) for name in "ab"}
    seconds = interleaved(sides, passes=2)
    assert called == list("abbaab")
    assert [len(seconds[side]) for side in "ab"] == [2, 2]


@pytest.mark.parametrize("faster", [False, True])
def test_a_ratio_names_its_sides_and_says_which_way_is_better(faster, monkeypatch):
    taken = {"slow": [4.0, 10.0, 5.0], "quick": [1.0, 2.0, 100.0]}
    monkeypatch.setattr("benchmarks.timing.interleaved", lambda sides, passes: taken)
    sides = {"slow": lambda: None, "quick": lambda: None}
    (figure,) = compare("a step", sides, each=2, faster=faster)
    assert (figure.of, figure.over, figure.seconds) == ("slow", "quick", (2.5, 1.0))
    assert figure.ratio == (1 / 4 if faster else 4)  # the median of 4, 5 and 1 / 20


@pytest.mark.slow
def test_the_plain_side_computes_the_same(capsys):
    """Scores and input gradients with plain `lax` convolutions are those of our forms."""
    made, image = tagger(TINY), TINY.pictures()[0]

    def loss(image):
        return made.functions.scores(made.params, image).sum()

    def plain(image):
        with nn.intercept_methods(passes._plainly):
            return loss(image)

    ours, theirs = (jax.jit(jax.value_and_grad(f))(image) for f in (loss, plain))
    largest = jnp.abs(theirs[1]).max()
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5 * largest)
    made_of = [str(jax.make_jaxpr(jax.grad(f))(image)) for f in (loss, plain)]
    assert ["optimization_barrier" in traced for traced in made_of] == [True, False]


@pytest.mark.slow
def test_targets_are_what_they_are_called():
    for latent in (0, 3):
        target = sentences(TINY, latent)
        said = np.arange(16) < target.length[:, None]
        assert (~np.asarray(target.observed) & said).sum(axis=1).tolist() == [latent] * TINY.batch
    labels = tagger(TINY).targets
    assert (labels.specified <= labels.relevant).all()
    assert (labels.relevant.sum(1) >= labels.k + labels.specified.sum(1)).all()
    assert speaker(TINY, "show-tell").functions.max_length == 16
    assert hasher(TINY).known.text_codes.shape == (10_000, 32)


@pytest.mark.slow
def test_stream_side_attacks_what_the_other_does():
    gain, useful = streaming.of_labels(pictures=8, iterations=2, slots=4)
    assert gain.faster and gain.over == "run" and 0 < useful.ratio <= 1
    with pytest.raises(ValueError, match="must be a multiple of 3"):
        next(streaming.of_labels(pictures=8, iterations=2, slots=3))


def test_command_prints_ratios_and_writes_them(tmp_path):
    size = ("--backbone", "resnet-small", "--side", 32, "--batch", 1, "--steps", 1)
    out = tmp_path / "figures.json"
    code, said, _ = call("bench", "passes", "compilation", *size, "--json", out)
    assert code == 0 and "plain lax" in said and "cache warm" in said
    record = json.loads(out.read_text())
    assert {f["over"] for f in record["figures"]} == {"plain lax", "cold"}
    assert record["setting"]["backbone"] == "resnet-small" and "jax" in record["machine"]
    assert all(f["ratio"] > 0 for f in record["figures"])


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (("speed",), "'speed': must be one of labels, "),
        (("--backbone", "x"), "--backbone 'x'"),
        (("--arithmetic", "int8"), "arithmetic 'int8': must be one of float32, tf32, bfloat16"),
        (
            ("labels", "--picture", "x.png"),
            "--picture: is not read with labels; it is for throughput",
        ),
    ],
)
def test_wrong_input_is_one_line(wrong, line):
    code, _, said = call("bench", *wrong)
    assert code == 2 and line in said and said.count("\n") == 1


def test_throughput_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(accelerator.MOST, "cpu", 2)
    size = ("--backbone", "resnet-small", "--side", 32, "--steps", 1, "--arithmetic", "bfloat16")
    picture, file = tmp_path / "throughput.png", tmp_path / "figures.json"
    code, said, err = call("bench", "throughput", *size, "--picture", picture, "--json", file)
    assert code == 0 and "image-steps a second" in said, err
    assert picture.stat().st_size > 1000
    figures = json.loads(file.read_text())["figures"]
    assert [f["of"] for f in figures] == ["batch 1", "batch 2"] and figures[0]["ratio"] == 1


def test_what_is_aimed_at_on_a_gpu_is_left_out_where_there_is_none():
    assert jax.default_backend() != "cpu" or not list(accelerator.on_accelerator(TINY))


@pytest.mark.slow
def test_rate_of_gem_counts_whole_attacks():
    figure = accelerator.gem_rate(TINY, rounds=1)
    assert figure.ratio == pytest.approx(1 / figure.seconds[0]) and figure.aim == 20


@pytest.mark.slow
@pytest.mark.parametrize("part", sorted(report.PARTS))
def test_every_part_runs(part):
    if part == "stream":
        pytest.skip("minutes; tests/core/test_stream_cost.py runs it")
    found = list(report.PARTS[part](TINY))
    assert found or part in ("pytorch", "accelerator")


@pytest.mark.parity
def test_the_networks_in_pytorch_are_ours():
    torch = pytest.importorskip("torch", reason="parity is checked against PyTorch")
    from benchmarks import pytorch

    made = tagger(Setting("resnet50", 64, batch=1))
    image = Setting("resnet50", 64, batch=1).pictures()
    wanted = jax.jit(made.functions.logits)(made.params, image[0])
    for folded, low, tolerance in ((False, False, 1e-4), (True, False, 1e-4), (True, True, 0.1)):
        net = pytorch.resnet(made.params, pytorch.BLOCKS["resnet50"], folded=folded, low=low)
        with torch.no_grad():
            got = net(pytorch.pictures(image))[0].numpy()
        np.testing.assert_allclose(got, wanted, atol=tolerance * float(jnp.abs(wanted).max()))


@pytest.mark.slow
@pytest.mark.parity
def test_the_loops_in_pytorch_are_our_attacks():
    pytest.importorskip("torch", reason="parity is checked against PyTorch")
    from benchmarks import loops, pytorch

    size = Setting("resnet50", 64, batch=2, units=16)
    images, steps, blocks = size.pictures(), 2, pytorch.BLOCKS["resnet50"]
    made, said, hashed = tagger(size), speaker(size, "show-tell"), hasher(size)
    label, known, caption = made.targets, hashed.known, sentences(size, 0)
    nets = [
        pytorch.resnet(loops._backbone(params), blocks, frozen=False)
        for params in (made.params, said.params, known.params)
    ]
    of_labels = tkmia(made.functions, inner="gradient", stop_at_success=False)
    decoder, layer = said.params["params"]["decoder"], known.params["params"]["image_hash"]
    codes = (known.image_codes, known.text_codes, hashed.targets.similar)
    words = (decoder, images, caption.tokens, steps)
    cases = {
        "tkmia": (
            (of_labels, made.params, label),
            [pytorch.tkmia(nets[0], images, label.relevant, label.specified, 3, steps)],
        ),
        "gem": (
            (gem(said.functions), said.params, caption),
            [pytorch.gem(nets[1], *words, released=released) for released in (True, False)],
        ),
        "cmla": (
            (cmla(hashed.functions), known, hashed.targets),
            [pytorch.cmla(nets[2], layer, images, *codes, steps)],
        ),
    }
    for name, ((attack, params, targets), theirs) in cases.items():
        wanted = run(attack, params, images, targets, iterations=steps).final.image - images
        assert jnp.linalg.norm(wanted) > 0
        for found in theirs:
            got = np.stack([noise.numpy().transpose(1, 2, 0) for noise in found])
            got = np.clip(images + got, 0, 1) - images
            # Adam makes a full step of a gradient that is nothing but rounding, too
            assert np.linalg.norm(got - wanted) < 0.05 * np.linalg.norm(wanted), name
