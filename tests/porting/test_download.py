"""Public checkpoints by name, from a local server; one real file where the data is present."""

import hashlib
import logging
import threading

import pytest
from helpers.commands import call
from helpers.file_server import serving
from PIL import Image
from porting.make_references import CLASSES, FOLDER, SIDE

import jaxadv as ja
from jaxadv.errors import InputError
from jaxadv.formats.errors import PortingError
from jaxadv.porting.download import download
from jaxadv.porting.public import fetch, implied, port_files
from jaxadv.victims import public, zoo
from jaxadv.victims.architectures import PUBLISHED, ClassifierArchitecture, published
from jaxadv.victims.public import CHECKPOINTS, Checkpoint

DATA = (FOLDER / "backbone.pth").read_bytes()
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME, FILE = "torchvision://tiny", "tiny.pth"
HALF = len(DATA) // 2


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Where checkpoints are kept."""
    monkeypatch.setenv("JAXADV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checkpoints"


@pytest.fixture
def server(monkeypatch, tiny, cache):
    """A server that has the checkpoint of the stored references, which has a name."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(PUBLISHED, "tiny", ClassifierArchitecture("tiny", SIDE))
    with serving() as server:
        server.files[FILE] = DATA
        offer(monkeypatch, server.address)
        yield server


def offer(monkeypatch, where, sha256=SHA256[:8], **others):
    """Make the checkpoint public."""
    entry = Checkpoint(NAME, FILE, "tiny", where, sha256, **others)
    monkeypatch.setattr(public, "CHECKPOINTS", (entry, *CHECKPOINTS))


def line(name=NAME):
    """Why a checkpoint is not fetched."""
    with pytest.raises(PortingError) as found:
        fetch(name)
    assert str(found.value).isprintable()
    return str(found.value)


def test_a_name_is_a_victim(server):
    victim = ja.load(NAME)
    assert victim.model.classes == tuple(map(str, range(CLASSES)))
    assert victim.record["source"] == NAME
    (file,) = victim.record["files"]
    assert file == {
        "file": FILE,
        "bytes": len(DATA),
        "sha256": SHA256,
        "address": f"{server.address}/{FILE}",
        "owner_says": f"SHA-256 begins {SHA256[:8]}",
    }
    again = ja.load(NAME)
    assert server.asked == [(FILE, 0)]
    assert again.record == victim.record


def test_port_keeps_the_address(server, tmp_path):
    out = ["--name", "mine", "--out", tmp_path]
    code, said, _ = call("port", NAME, *out)
    assert code == 0
    assert f"of {server.address}/{FILE}, whose owner says: SHA-256 begins {SHA256[:8]}" in said
    (file,) = ja.load(str(tmp_path / "mine")).record["files"]
    assert file["address"] == f"{server.address}/{FILE}" and file["sha256"] == SHA256
    named = tmp_path / "names.txt"
    named.write_text("\n".join("abcdefg"))
    assert call("port", NAME, *out, "--vocabulary", named, "--force")[0] == 0
    assert ja.load(str(tmp_path / "mine")).model.classes == tuple("abcdefg")


def test_the_architecture_is_implied(server):
    assert implied([NAME]) == implied([NAME], "tiny") == "tiny"
    assert implied(["a.pth"], "resnet18") == "resnet18" and implied(["a.pth"]) is None
    code, _, err = call("port", NAME, "--architecture", "resnet18", "--name", "x")
    assert code == 2 and f"{NAME}: is of the architecture tiny" in err
    code, _, err = call("port", NAME, "b.pth", "--name", "x")
    assert code == 2 and "give it alone" in err
    assert server.asked == []


def test_commands_take_a_name(server, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    code, _, err = call("caption", "--victim", NAME, tmp_path / "p.png")
    assert code == 2 and "is a classifier, not a captioner" in err
    code, said, _ = call("label", "--victim", NAME, tmp_path / "p.png")
    assert code == 0 and said


def test_a_download_that_was_cut_off_goes_on(server, cache):
    """The second try asks for the rest alone; until then nothing is there under the name."""
    server.cut = HALF
    assert f"cut off after {HALF:,} of {len(DATA):,} bytes" in line()
    assert [path.name for path in cache.iterdir()] == [f"{FILE}.part"]
    assert fetch(NAME).read_bytes() == DATA
    assert server.asked == [(FILE, 0), (FILE, HALF)]
    assert [path.name for path in cache.iterdir()] == [FILE]


def test_a_server_that_sends_the_whole_again(server):
    server.cut, server.ignores_range = HALF, True
    line()
    assert fetch(NAME).read_bytes() == DATA


def test_a_download_that_was_stopped_at_its_end(server, cache):
    cache.mkdir(parents=True)
    (cache / f"{FILE}.part").write_bytes(DATA)
    assert fetch(NAME).read_bytes() == DATA
    assert server.asked == [(FILE, len(DATA))]


@pytest.mark.parametrize(
    "begun", [b"", b"x" * 99, b"x" * 2 * len(DATA)], ids=["none", "few", "many"]
)
def test_other_bytes_than_its_owner_says(begun, server, cache, monkeypatch):
    """Whether they are the server's or were there before; the next try begins again."""
    cache.mkdir(parents=True)
    (cache / f"{FILE}.part").write_bytes(begun)
    if not begun:
        server.files[FILE] = DATA[::-1]
    said = line()
    assert f"which does not begin with {SHA256[:8]}, so it is not kept" in said
    assert not (cache / FILE).exists()
    server.files[FILE] = DATA
    assert fetch(NAME).read_bytes() == DATA
    assert server.asked[-1] == (FILE, 0)


def test_a_kept_file_that_was_changed(server):
    path = fetch(NAME)
    path.write_bytes(DATA[:-1])
    assert line() == (
        f"{NAME}: {path} has not the bytes that its owner names; delete it and try again"
    )


def test_a_file_whose_owner_says_no_hash(server, monkeypatch, caplog):
    """Its hash is told; cut off, it begins again, as nothing could tell two files' halves."""
    offer(monkeypatch, server.address, sha256="")
    server.cut = HALF
    line()
    with caplog.at_level(logging.WARNING):
        victim = ja.load(NAME)
    assert f"its owner says no hash; its SHA-256 is {SHA256}" in caplog.text
    assert victim.record["files"][0]["owner_says"] == "no hash"
    assert server.asked == [(FILE, 0), (FILE, 0)]


def test_without_a_connection(server, cache, monkeypatch):
    kept = fetch(NAME)
    offer(monkeypatch, "http://127.0.0.1:9")
    assert fetch(NAME) == kept
    kept.unlink()
    assert "not on this machine, and 127.0.0.1 cannot be reached (Connection refused)" in line()


def test_a_file_that_is_not_there(server):
    del server.files[FILE]
    assert line() == f"{NAME}: {server.address}/{FILE} is not there (404)"


@pytest.mark.parametrize(
    "to", ["http://example.org/tiny.pth", "ftp://example.org/tiny.pth", "file:///etc/passwd"]
)
def test_other_ways_are_not_gone(to, server, cache, monkeypatch):
    server.elsewhere[FILE] = to
    assert "or to an address that is not https" in line()
    assert not (cache / FILE).exists()
    offer(monkeypatch, to.removesuffix("/tiny.pth"))
    assert "is not fetched, as it is not https" in line()


def test_a_server_that_sends_on(server):
    server.files["there.pth"] = DATA
    server.elsewhere[FILE] = "/there.pth"
    assert fetch(NAME).read_bytes() == DATA
    server.elsewhere["round.pth"] = "/round.pth"
    with pytest.raises(PortingError, match="sends on in a circle"):
        download("it", f"{server.address}/round.pth", fetch(NAME).with_name("round.pth"), "")


@pytest.mark.parametrize(
    "name", ["../../passwd", "resnet50/../../x", "", "a\0b", "a" * 999], ids=ascii
)
def test_names_are_looked_up_and_lead_nowhere(name, server, tmp_path):
    with pytest.raises(InputError, match=r"no public checkpoint .*: there are torchvision://tiny"):
        ja.load(f"torchvision://{name}")
    assert server.asked == [] and not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="no victim"):
        ja.load(f"elsewhere://{name}")


def test_what_cannot_be_written(server, cache):
    cache.parent.mkdir()
    cache.write_bytes(b"")
    assert "cannot be written" in line()


def test_a_user_without_a_home_folder(server, monkeypatch):
    monkeypatch.setattr("jaxadv.porting.public.user_cache", lambda name: None)
    monkeypatch.delenv("JAXADV_CACHE")
    assert "set JAXADV_CACHE" in line()


def test_several_at_once_fetch_once(server):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(NAME))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and found[0].read_bytes() == DATA
    assert server.asked == [(FILE, 0)]


def test_a_long_download_says_how_far_it_is(server, monkeypatch, caplog):
    monkeypatch.setattr("jaxadv.porting.download._SECONDS_A_LINE", -1)
    with caplog.at_level(logging.WARNING):
        fetch(NAME)
    assert f"{NAME}: fetching {server.address}/{FILE}" in caplog.text
    assert f"{NAME}: 0.1 of 0.1 MB" in caplog.text


def test_a_part_is_fetched_beside_paths(server, monkeypatch):
    offer(monkeypatch, server.address, part="all but nothing")
    with pytest.raises(PortingError, match="the all but nothing of tiny, not a whole victim"):
        ja.load(NAME)
    assert server.asked == []
    (source,) = port_files([NAME], published("tiny")).sources
    assert source.address == f"{server.address}/{FILE}"
    code, _, err = call("port", NAME, "--name", "x")
    assert code == 2 and "--architecture: say which" in err


@pytest.mark.parametrize(
    "entry", [one for one in CHECKPOINTS if not one.is_fetched], ids=lambda one: one.name
)
def test_what_is_got_by_hand_says_where(entry):
    for code, _, err in (
        call("port", entry.name, "--name", "x"),
        call("label", "--victim", entry.name, "p.png"),
    ):
        assert code == 2 and err.count("\n") == 1
        assert entry.where in err and f"--architecture {entry.architecture}" in err


def test_every_checkpoint_has_a_name_and_a_place_of_its_own():
    fetched = [entry for entry in CHECKPOINTS if entry.is_fetched]
    assert len({entry.name for entry in CHECKPOINTS}) == len(CHECKPOINTS)
    assert len({entry.file for entry in fetched}) == len(fetched)
    for entry in fetched:
        assert entry.address.startswith("https://") and "/" not in entry.file
        assert f"-{entry.sha256}." in entry.file or not entry.sha256


def test_a_real_file(server, real_data, monkeypatch):
    (real,) = (entry for entry in CHECKPOINTS if entry.name == "akamaster://resnet20")
    server.files[real.file] = (real_data / "resnet_cifar10" / real.file).read_bytes()
    here = real._replace(where=server.address)
    monkeypatch.setattr(public, "CHECKPOINTS", (here,))
    victim = ja.load("akamaster://resnet20")
    assert victim.architecture == published("resnet20-cifar") and len(victim.model.classes) == 10
    assert zoo.digest(victim.params) == victim.record["weights_sha256"]
