import io
import os
import struct
import subprocess
import sys
import warnings
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from jaxadv.data import images
from jaxadv.data.example import Box
from jaxadv.data.frames import turn_upright
from jaxadv.data.images import (
    ImageError,
    Stored,
    check_image,
    find_images,
    read_frame,
    read_image,
    resize,
    round_8bit,
    write_png,
)

H, W = 6, 9
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (H, W, 3), np.uint8)
GREY = RNG.integers(0, 256, (H, W), np.uint8)
LARGE = RNG.integers(0, 256, (8 * H, 8 * W, 3), np.uint8)
ALPHA = RNG.choice([0, 100, 255], (H, W)).astype(np.uint8)


def on_white(rgb, alpha):
    share = alpha[:, :, None] / 255
    return rgb / 255 * share + 1 - share


def grey_rgb(grey):
    return np.repeat(grey[:, :, None], 3, axis=2)


def grey16():
    pixels = RNG.integers(0, 65536, (H, W)).astype(np.uint16)
    return Image.fromarray(pixels), {}, grey_rgb(pixels) / 65535


def transparent_grey16():
    image, _, expected = grey16()
    expected[0, 0] = 1
    return image, {"transparency": int(np.asarray(image)[0, 0])}, expected


def palette(alpha):
    colours = RNG.integers(0, 256, (4, 3), np.uint8)
    indices = RNG.integers(0, 4, (H, W), np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    options = {} if alpha is None else {"transparency": alpha.tobytes()}
    opaque = np.full(4, 255, np.uint8) if alpha is None else alpha
    return image, options, on_white(colours[indices], opaque[indices])


def black_and_white():
    bits = GREY > 127
    return Image.fromarray(bits), {}, grey_rgb(bits.astype(float))


def one_transparent_colour():
    expected = RGB / 255
    expected[0, 0] = 1
    return Image.fromarray(RGB), {"transparency": tuple(RGB[0, 0].tolist())}, expected


def one_transparent_grey():
    level = GREY[0, 0]
    expected = grey_rgb(np.where(level == GREY, 255, GREY)) / 255
    return Image.fromarray(GREY), {"transparency": int(level)}, expected


PNGS = {
    # name: () -> (image, options of save, what must be read)
    "RGB": lambda: (Image.fromarray(RGB), {}, RGB / 255),
    "RGBA": lambda: (Image.fromarray(np.dstack([RGB, ALPHA])), {}, on_white(RGB, ALPHA)),
    "L": lambda: (Image.fromarray(GREY), {}, grey_rgb(GREY) / 255),
    "LA": lambda: (
        Image.fromarray(np.dstack([GREY, ALPHA])),
        {},
        on_white(grey_rgb(GREY), ALPHA),
    ),
    "1": black_and_white,
    "P": lambda: palette(None),
    "P with alpha": lambda: palette(np.array([0, 80, 200, 255], np.uint8)),
    "RGB with a transparent colour": one_transparent_colour,
    "L with a transparent level": one_transparent_grey,
    "I;16": grey16,
    "I;16 with a transparent level": transparent_grey16,
    "1 x 1": lambda: (Image.fromarray(RGB[:1, :1]), {}, RGB[:1, :1] / 255),
}


def assert_is_image(image):
    assert image.dtype == np.float32 and image.ndim == 3 and image.shape[2] == 3
    assert image.flags.c_contiguous and image.min() >= 0 and image.max() <= 1


def refused(path):
    """The message of the refusal, which is one line that begins with the file."""
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.isprintable()
    assert "JPEG or PNG" in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", PNGS)
def test_png_modes(name, tmp_path):
    image, options, expected = PNGS[name]()
    image.save(tmp_path / "image.png", **options)
    found = read_image(tmp_path / "image.png")
    assert_is_image(found)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_modes(mode, progressive, tmp_path):
    path = tmp_path / "image.JPG"
    ramp = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype(np.uint8)
    smooth = Image.fromarray(np.dstack([ramp, ramp[::-1], ramp[:, ::-1]])).convert(mode)
    smooth.save(path, "JPEG", quality=95, progressive=progressive)
    found = read_image(path)
    assert_is_image(found)
    np.testing.assert_allclose(found, np.asarray(smooth.convert("RGB")) / 255, atol=0.05)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation(orientation, suffix, tmp_path):
    path = tmp_path / f"image.{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(RGB).save(path, exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    if 5 <= orientation <= 8:
        assert upright.shape == (W, H, 3)
    found = read_image(path)
    assert_is_image(found)
    np.testing.assert_allclose(found, upright / 255, atol=1e-6)


def test_damaged_exif_does_not_matter(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(RGB).save(path, exif=b"Exif\0\0nonsense")
    np.testing.assert_allclose(read_image(path), RGB / 255, atol=1e-6)


def test_sixteen_bit_colour(tmp_path):
    """Pillow cannot write it: one row of two pixels, by hand."""
    path = tmp_path / "image.png"
    row = b"\0" + struct.pack(">6H", 256, 512, 768, 65535, 0, 255)
    path.write_bytes(png_of(ihdr(2, 1, bits=16), idat(row)))
    np.testing.assert_allclose(read_image(path) * 255, [[[1, 2, 3], [255, 0, 0]]], atol=1e-4)


def test_first_picture_of_an_mpo(tmp_path):
    path = tmp_path / "phone.jpg"
    grey = [Image.new("RGB", (W, H), (level, level, level)) for level in (51, 204)]
    grey[0].save(path, "MPO", save_all=True, append_images=grey[1:])
    np.testing.assert_allclose(read_image(path), np.full((H, W, 3), 0.2), atol=0.01)


def test_the_contents_decide_not_the_suffix(tmp_path):
    path = tmp_path / "really_png.jpg"
    Image.fromarray(RGB).save(path, "PNG")
    np.testing.assert_allclose(read_image(path), RGB / 255, atol=1e-6)


def test_text_paths(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "image.png")
    assert read_image(str(tmp_path / "image.png")).shape == (H, W, 3)


def idat(rows):
    return b"IDAT", zlib.compress(rows)


def png_of(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    )


def encoded(form, **options):
    buffer = io.BytesIO()
    Image.fromarray(LARGE).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 0.99])
def test_truncated(form, share, tmp_path):
    data = encoded(form)
    path = tmp_path / "image"
    path.write_bytes(data[: int(len(data) * share) + 1])
    refused(path)


def test_png_without_its_end(tmp_path):
    """All pixels are there, but the file is not whole: a download that broke off."""
    path = tmp_path / "image.png"
    path.write_bytes(encoded("PNG")[:-12])
    assert "damaged or truncated" in refused(path)


def test_png_with_a_flipped_bit(tmp_path):
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 1
    path = tmp_path / "image.png"
    path.write_bytes(data)
    assert "checksum" in refused(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_random_damage_is_an_image_or_an_image_error(form, tmp_path):
    data = encoded(form)
    rng = np.random.default_rng(1)
    path = tmp_path / "image"
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, 600, 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert_is_image(read_image(path))
        except ImageError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize("text", ["just words\n", "<svg></svg>", "%PDF-1.7", "GIF", "\0" * 100])
def test_not_an_image(text, tmp_path):
    path = tmp_path / "words.jpg"
    path.write_text(text)
    assert refused(path).startswith("not an image")


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "EPS"])
def test_other_formats_are_named(form, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(encoded(form))
    assert refused(path).startswith(f"{form} image; give")


def test_animations_are_refused(tmp_path):
    path = tmp_path / "image.png"
    more = [Image.fromarray(255 - LARGE), Image.new("RGB", (8 * W, 8 * H))]
    path.write_bytes(encoded("PNG", save_all=True, append_images=more))
    assert "animated PNG of 3 frames" in refused(path)


def test_missing_file(tmp_path):
    assert "No such file" in refused(tmp_path / "nothing.png")


def test_folder(tmp_path):
    assert "a folder, where a file is expected" in refused(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "empty.png").touch()
    assert "0 bytes" in refused(tmp_path / "empty.png")


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "a named pipe" in refused(tmp_path / "pipe.png")


def test_a_file_inside_a_file(tmp_path):
    (tmp_path / "image.png").touch()
    assert "Not a directory" in refused(tmp_path / "image.png" / "image.png")


@pytest.mark.parametrize("name", ["two\nlines.png", "\udcff.png", "nul\0.png", ""])
def test_odd_names_stay_on_one_line(name):
    with pytest.raises(ImageError) as caught:
        read_image(name)
    assert str(caught.value).startswith(ascii(name)) and str(caught.value).isprintable()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_more_pixels_than_are_read(form, tmp_path, monkeypatch):
    """A whole picture is not called damaged because it is large."""
    path = tmp_path / "image.png"
    path.write_bytes(encoded(form))
    monkeypatch.setattr(images, "MOST_PIXELS", H * W * 64)
    assert read_image(path).shape == (8 * H, 8 * W, 3)
    monkeypatch.setattr(images, "MOST_PIXELS", H * W * 64 - 1)
    for read in (read_image, read_frame):
        with pytest.raises(ImageError, match=r"72 x 48 pixels, more than the 3,455 that are read"):
            read(path)


CHUNK = (b"abCd", b"")
JPEG_REMARK = b"\xff\xfe\0\2"
JPEG_TABLE = b"\xff\xdd\0\4\0\0"


def jpeg_with(parts, at=2):
    whole = encoded("JPEG", progressive=True)
    return whole[:at] + parts + whole[at:]


def repeated_scans(count):
    """A progressive JPEG whose last scan comes again and again."""
    whole = encoded("JPEG", progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + count * scan + whole[-2:]


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        pytest.param(lambda: repeated_scans(101), "more than 100 scans", id="scans"),
        pytest.param(lambda: jpeg_with(2001 * JPEG_TABLE), "more than 2,000 tables", id="tables"),
        pytest.param(lambda: jpeg_with(100_001 * JPEG_REMARK), "100,000 parts", id="remarks"),
        pytest.param(
            lambda: png_of(ihdr(W, H), *100_001 * (CHUNK,), idat(H * (1 + 3 * W) * b"\0")),
            "100,000 parts",
            id="chunks",
        ),
        pytest.param(
            lambda: png_of(ihdr(65_536, 1), idat((1 + 3 * 65_536) * b"\0")),
            "65,536 x 1 pixels, more than the 65,535 on a side",
            id="side",
        ),
        pytest.param(
            lambda: png_of(ihdr(60_000, 60_000), idat(b"")),
            "more than the 33,554,432 pixels",
            id="bomb",
        ),
    ],
)
def test_what_would_take_long_is_refused_before_it_is_decoded(contents, says, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(contents())
    with pytest.raises(ImageError, match=says) as caught:
        read_image(path)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    "contents",
    [
        lambda: jpeg_with(1000 * JPEG_REMARK),
        lambda: jpeg_with(10_000 * b"\xff"),
        lambda: encoded("JPEG", progressive=True) + repeated_scans(1000),  # a phone's video
    ],
)
def test_what_is_odd_but_quick_is_read(contents, tmp_path):
    (tmp_path / "odd").write_bytes(contents())
    (tmp_path / "plain").write_bytes(encoded("JPEG", progressive=True))
    np.testing.assert_array_equal(read_image(tmp_path / "odd"), read_image(tmp_path / "plain"))


def ihdr(width, height, bits=8, colour=2):
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)


@pytest.mark.parametrize("turned", [False, True])
def test_a_picture_of_several_strips(turned, tmp_path, monkeypatch):
    """Large pictures are converted in strips, and turned on the way."""
    exif = Image.Exif()
    exif[274] = 7 if turned else 1
    colours = np.dstack([LARGE, RNG.integers(0, 256, LARGE.shape[:2], np.uint8)])
    Image.fromarray(colours).save(tmp_path / "image.png", exif=exif)
    whole = read_image(tmp_path / "image.png")
    for at_once in (8 * W + 1, 7, 8 * W * 8 * H - 1):
        monkeypatch.setattr(images, "_AT_ONCE", at_once)
        np.testing.assert_array_equal(read_image(tmp_path / "image.png"), whole)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_frames_turn_boxes_as_pictures_are_turned(orientation, suffix, tmp_path):
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.zeros((8 * H, 8 * W, 3), np.uint8)
    pixels[16:40, 8:24] = 255
    Image.fromarray(pixels).save(tmp_path / f"image.{suffix}", exif=exif)
    frame = read_frame(tmp_path / f"image.{suffix}")
    picture = read_image(tmp_path / f"image.{suffix}")
    assert frame == (8 * W, 8 * H, orientation) and frame.upright == picture.shape[1::-1]
    _, left, top, right, bottom = turn_upright(Box("x", 8, 16, 24, 40), frame)
    inside = np.zeros(picture.shape[:2], bool)
    inside[top:bottom, left:right] = True
    np.testing.assert_array_equal(picture[:, :, 0] > 0.5, inside)


def test_a_frame_is_read_from_a_header_alone(tmp_path):
    """Also from a long one, from what is stored elsewhere, and from pixels."""
    path = tmp_path / "image.jpg"
    exif = Image.Exif()
    exif[274] = 6
    whole = encoded("JPEG", exif=exif)
    path.write_bytes(whole[: whole.index(b"\xff\xda") + 30])
    assert read_frame(path) == (8 * W, 8 * H, 6)
    long = whole[:2] + 3 * (b"\xff\xe2\xff\xff" + 65_533 * b"x") + whole[2:]
    path.write_bytes(long)
    assert read_frame(path) == read_frame(Stored("x", lambda: long)) == (8 * W, 8 * H, 6)
    assert read_frame(Stored("x", lambda: RGB)) == (W, H, 1)


@pytest.mark.parametrize("contents", [b"", b"<html>", b"GIF89a"])
def test_no_frame(contents, tmp_path):
    (tmp_path / "x.jpg").write_bytes(contents)
    with pytest.raises(ImageError, match=r"x\.jpg: .*give a JPEG or PNG"):
        read_frame(tmp_path / "x.jpg")


def largest(mode):
    """PNGs and JPEGs of as many pixels as are read, in a few hundred kB."""
    file = io.BytesIO()
    if mode == "turned":
        exif = Image.Exif()
        exif[274] = 6
        Image.new("RGB", (8192, 4096)).save(file, "JPEG", progressive=True, exif=exif)
    elif mode == "CMYK":
        Image.new("CMYK", (8192, 4096)).save(file, "JPEG", progressive=True)
    else:
        options = {"transparency": b"\0\x80"} if mode == "P" else {}
        Image.new(mode, (8192, 4096)).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "CMYK", "turned"])
def test_the_largest_pictures_take_a_gigabyte_at_most(mode, tmp_path):
    (tmp_path / "image").write_bytes(largest(mode))
    program = (
        "import sys, resource, time; from jaxadv.data.images import read_image\n"
        "read_image(sys.argv[1])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "image"], capture_output=True, check=True
    )
    kibibytes, seconds = map(float, done.stdout.split())
    assert kibibytes < 1 << 20 and seconds < 10


def test_a_remark_that_expands_does_not_matter(tmp_path):
    """A comment of 3 kB that unpacks to 3 MB is over Pillow's limit for text."""
    path = tmp_path / "image.png"
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 3_000_000, zip=True)
    path.write_bytes(encoded("PNG", pnginfo=info))
    np.testing.assert_allclose(read_image(path), LARGE / 255, atol=1e-6)


def test_pillows_warnings_stay_inside(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.fromarray(RGB).save(path)

    whole = PngImagePlugin.PngImageFile.load

    def load(self):
        warnings.warn("a remark", UserWarning, stacklevel=1)
        return whole(self)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    assert read_image(path).shape == (H, W, 3)


def test_find_images(tmp_path):
    for name in ("b.png", "a.JPG", "c.jpeg", "notes.txt", ".hidden.png", "d.gif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_images(tmp_path)] == ["a.JPG", "b.png", "c.jpeg"]
    assert find_images(str(tmp_path)) == find_images(tmp_path)


def test_find_images_needs_some(tmp_path):
    with pytest.raises(ImageError, match=r"no images in this folder; accepted: \.jpg"):
        find_images(tmp_path)
    with pytest.raises(ImageError, match="nowhere: not a folder of images"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "file.png").touch()
    with pytest.raises(ImageError, match="not a folder of images"):
        find_images(tmp_path / "file.png")


def uniform(*shape):
    return np.random.default_rng(2).random(shape, np.float32)


@pytest.mark.parametrize(
    "image",
    [
        uniform(H, W, 3),
        uniform(H, W, 3).astype(np.float64),
        uniform(H, W, 3).astype(np.float16),
        jnp.asarray(uniform(H, W, 3)),
        jnp.asarray(uniform(H, W, 3), jnp.bfloat16),
        uniform(H, W, 3)[::-1, ::2],
        uniform(H, W, 3).tolist(),
    ],
    ids=["f32", "f64", "f16", "jax f32", "jax bf16", "strided", "list"],
)
def test_check_image_accepts(image):
    found = check_image(image)
    assert_is_image(found)
    np.testing.assert_array_equal(found, np.asarray(image).astype(np.float32))


def test_check_image_scales_uint8():
    assert_is_image(check_image(RGB))
    np.testing.assert_allclose(check_image(RGB), RGB / 255, atol=1e-7)
    assert check_image(np.full((1, 1, 3), 255, np.uint8)).max() == 1


def test_check_image_shape():
    assert check_image(uniform(4, 5, 3), (4, 5)).shape == (4, 5, 3)
    with pytest.raises(ImageError, match=r"shape \(4, 5, 3\), wanted \(5, 4, 3\); use .*resize"):
        check_image(uniform(4, 5, 3), (5, 4))


def with_values(*values):
    image = uniform(2, 2, 3)
    image.flat[: len(values)] = values
    return image


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (uniform(3, 8, 8), "shape (3, 8, 8)"),
        (uniform(8, 8), "shape (8, 8)"),
        (uniform(1, 8, 8, 3), "shape (1, 8, 8, 3)"),
        (uniform(8, 8, 4), "channels last"),
        (uniform(0, 8, 3), "shape (0, 8, 3)"),
        (np.ones((2, 2, 3), np.int64), "dtype int64"),
        (np.ones((2, 2, 3), bool), "dtype bool"),
        (np.ones((2, 2, 3), complex), "dtype complex128"),
        ("image.png", "dtype <U9"),
        (None, "dtype object"),
        ([[1.0], [1.0, 2.0]], "not an array"),
        (with_values(np.nan, np.nan, -np.inf), "2 NaN and 1 infinite of 12 values"),
        (with_values(np.inf), "0 NaN and 1 infinite"),
        (with_values(0, 255), "values from 0 to 255, not in [0, 1]; divide by 255"),
        (with_values(-1), "values from -1 to "),
        (with_values(1.0000002), "to 1.00000024, not in [0, 1]; undo any normalisation, or clip"),
        (with_values(-3e38, 3e38).astype(np.float64) * 10, "values from -3"),
    ],
)
def test_check_image_refuses(image, says):
    with pytest.raises(ImageError) as caught:
        check_image(image)
    assert says in str(caught.value)
    assert str(caught.value).startswith("image array: ") and str(caught.value).isprintable()


def test_resize_identity_is_exact_and_a_copy():
    image = uniform(H, W, 3)
    same = resize(image, (H, W))
    np.testing.assert_array_equal(same, image)
    assert not np.shares_memory(same, image)


@pytest.mark.parametrize("shape", [(3, 4), (12, 18), (1, 1), (6, 5), (np.int64(7), np.int64(2))])
def test_resize_shapes_and_constants(shape):
    found = resize(uniform(H, W, 3), shape)
    assert_is_image(found)
    assert found.shape == (*shape, 3)
    np.testing.assert_allclose(resize(np.full((H, W, 3), 0.3), shape), 0.3, rtol=1e-6)


def test_resize_is_antialiased():
    """A checkerboard becomes grey; picking pixels would make it black or white."""
    board = np.indices((32, 32)).sum(axis=0) % 2
    found = resize(np.repeat(board[:, :, None], 3, axis=2).astype(np.float32), (8, 8))
    np.testing.assert_allclose(found, 0.5, atol=0.02)


def test_resize_keeps_differences_below_8_bits():
    ramp = np.linspace(0.5, 0.5 + 1 / 255, 64, dtype=np.float32)
    image = np.broadcast_to(ramp[None, :, None], (64, 64, 3))
    assert len(np.unique(resize(image, (32, 32))[0, :, 0])) == 32


def test_resize_is_pillows_on_8_bit_images():
    theirs = Image.fromarray(LARGE).resize((10, 11), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(resize(LARGE, (11, 10)), np.asarray(theirs) / 255, atol=1.01 / 255)


@pytest.mark.parametrize("shape", [(0, 3), (-1, 3), (3,), (3, 3, 3)])
def test_resize_refuses_impossible_sizes(shape):
    with pytest.raises(ImageError, match="cannot be resized"):
        resize(uniform(4, 4, 3), shape)


def test_round_trip_is_exact(tmp_path):
    path = tmp_path / "a" / "b" / "image.png"
    image = uniform(33, 47, 3)
    write_png(path, image)
    saved = read_image(path)
    np.testing.assert_array_equal(saved, round_8bit(image))
    np.testing.assert_array_equal(saved, round_8bit(jnp.asarray(image)))
    np.testing.assert_array_equal(saved, jax.jit(round_8bit)(image))
    np.testing.assert_array_equal(round_8bit(saved), saved)
    assert [file.name for file in path.parent.iterdir()] == ["image.png"]


def test_every_8_bit_value_survives(tmp_path):
    values = np.arange(256, dtype=np.uint8)
    write_png(tmp_path / "image.png", grey_rgb(values[:, None]))
    saved = read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(np.asarray(saved * 255).round()[:, 0, 0], values)
    assert saved.min() == 0 and saved.max() == 1
    np.testing.assert_array_equal(saved, check_image(grey_rgb(values[:, None])))


def test_round_8bit_keeps_the_kind_of_array():
    assert isinstance(round_8bit(uniform(2, 2, 3)), np.ndarray)
    assert isinstance(round_8bit(jnp.asarray(uniform(2, 2, 3))), jax.Array)
    assert round_8bit(uniform(2, 2, 3).astype(np.float64)).dtype == np.float32
    batch = uniform(4, 2, 2, 3)
    np.testing.assert_array_equal(jax.vmap(round_8bit)(batch), round_8bit(batch))
    assert abs(round_8bit(batch) - batch).max() <= 0.5 / 255 + 1e-7


def test_write_png_replaces_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    write_png(path, np.zeros((2, 2, 3)))
    write_png(path, np.ones((2, 2, 3)))
    assert read_image(path).min() == 1

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ImageError, match=r"image\.png: cannot be written \(No space left"):
        write_png(path, np.zeros((2, 2, 3)))
    assert read_image(path).min() == 1  # the old file is whole
    assert list(tmp_path.iterdir()) == [path]


def test_write_png_refuses(tmp_path):
    with pytest.raises(ImageError, match=r"image\.jpg: images are saved as PNG"):
        write_png(tmp_path / "image.jpg", uniform(2, 2, 3))
    with pytest.raises(ImageError, match=r"image\.png: not saved, image array: values from"):
        write_png(tmp_path / "image.png", uniform(2, 2, 3) * 2)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="cannot be written"):
        write_png(tmp_path / "folder.png", uniform(2, 2, 3))
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be written"):
        write_png(tmp_path / "file" / "image.png", uniform(2, 2, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]
