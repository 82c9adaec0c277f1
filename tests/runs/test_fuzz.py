"""Damaged pictures and clips of every format: each is read or told in one line, within seconds and little memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cyclestyle.images import find_images
from cyclestyle.provenance import Provenance
from cyclestyle.translate.reading import About, Frame
from cyclestyle.translate.writing import write_frames
from tests.clip_files import drawn, write_clip
from tests.picture_files import deep_jpeg_2000
from tests.runs.test_training_runs import ROOT

KEPT = (
    '<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>a lake</dc:title></rdf:Description>'
)

READ_DAMAGED = """
import resource, signal, sys
import cv2
import numpy as np
from pathlib import Path
from cyclestyle.images import ImageError
from cyclestyle.provenance import read_provenance
from cyclestyle.translate.clips import Clip
from cyclestyle.translate.reading import Source
from cyclestyle.translate.video_options import VideoOptions, is_video

def pictures(path):
    if is_video(path):
        yield from Clip(path, VideoOptions()).shots()
        return
    with Source(path, most=1_000_000) as source:
        yield from source.frames()

def damaged(data, random):
    data = bytearray(data)
    for _ in range(random.integers(1, 8)):
        kind, at = random.integers(5), int(random.integers(len(data)))
        if kind == 0:
            data[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[at] = int(random.choice([0, 1, 127, 128, 255]))
        elif kind == 2 and at > 20:
            del data[at:]
        elif kind == 3:
            data[at:at] = bytes(random.integers(0, 256, random.integers(1, 40), np.uint8))
        else:
            start = int(random.integers(len(data)))
            data[at : at + 30] = data[start : start + 30]
    return bytes(data)

folder, count = Path(sys.argv[1]), int(sys.argv[2])
samples = sorted(folder.iterdir())
target = folder.parent / "damaged"
used = int(Path("/proc/self/statm").read_text().split()[5]) * 4096
resource.setrlimit(resource.RLIMIT_DATA, (used + 2**30, used + 2**30))
read = 0
for number in range(count):
    random, sample = np.random.default_rng(number), samples[number % len(samples)]
    path = target.with_suffix(sample.suffix)
    path.write_bytes(damaged(sample.read_bytes(), random))
    print(number, sample.name, file=sys.stderr, flush=True)  # the last line says which one a crash is from
    signal.alarm(10)  # ends the process
    try:
        read_provenance(path)
        for picture in pictures(path):
            assert picture.pixels.ndim == 3 and picture.pixels.dtype in (np.uint8, np.uint16)
        read += 1
    except ImageError as error:
        assert "\\n" not in str(error) and str(path) in str(error)
    signal.alarm(0)
print(read, "of", count)
"""


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A small picture in each format, and in each way that is read by code of its own."""
    folder = tmp_path / "samples"
    folder.mkdir()
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (36, 48, 3), dtype=np.uint8)
    frame, alpha = Frame(pixels), random.integers(0, 256, (36, 48), dtype=np.uint8)
    deep = Frame(pixels.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x010E] = "a lake"
    origin = Provenance("0" * 64, "AtoB", "ink to photo")
    for suffix in (".avif", ".gif", ".heic", ".jpg", ".png", ".tif", ".webp"):
        about = About(exif=exif.tobytes(), milliseconds=[40, 60])
        write_frames(folder / f"still{suffix}", [frame], About(exif=exif.tobytes(), xmp=KEPT), origin)
        if suffix not in (".jpg", ".heic"):
            write_frames(folder / f"moving{suffix}", [frame, Frame(pixels[::-1].copy())], about, origin)
            write_frames(folder / f"clear{suffix}", [Frame(pixels, alpha)], About(), origin)
    for suffix in (".avif", ".heic", ".png", ".tif"):
        write_frames(folder / f"deep{suffix}", [deep], About(exif=exif.tobytes(), xmp=KEPT), origin)
    deep_jpeg_2000(folder / "deep.jp2", deep.pixels, 16)
    for kind, body in (("3", " ".join(map(str, deep.pixels.ravel())).encode()), ("6", deep.pixels.tobytes())):
        (folder / f"deep_{kind}.ppm").write_bytes(f"P{kind} 48 36 65535\n".encode() + body)
    for suffix in (".avif", ".png"):
        about = About(exif=exif.tobytes(), xmp=KEPT, milliseconds=[40, 60], lossless=True, format="AVIF", bits=10)
        write_frames(folder / f"deep_moving{suffix}", [deep, Frame(deep.pixels[::-1])], about, origin)
    rare = np.dstack([deep.pixels[..., 0], alpha.astype(np.uint16) * 257])
    for name, options in (("rare", {}), ("deflated", {"compression": "zlib", "predictor": 2, "tile": (16, 16)})):
        tifffile.imwrite(folder / f"{name}.tif", rare, photometric="minisblack", extrasamples=[2], **options)
    write_frames(folder / "pages.tif", [deep] * 3, About(), origin)
    for suffix in (".bmp", ".ico", ".jp2", ".pcx", ".ppm", ".tga"):
        Image.fromarray(pixels).save(folder / f"other{suffix}")
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(pixels).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(pixels).convert("P").save(folder / "palette.png")
    for suffix in (".mkv", ".mp4", ".webm"):
        write_clip(folder / f"clip{suffix}", drawn(6), sound=True)
    clear = np.concatenate([drawn(6), drawn(6)[..., :1]], -1)
    write_clip(folder / "clear.webm", clear, codec="libvpx-vp9", pix_fmt="yuva420p")
    write_clip(folder / "clear.mov", clear, codec="prores_ks", pix_fmt="yuva444p10le")
    return folder


@pytest.mark.parametrize("count", [150, pytest.param(6000, marks=pytest.mark.long)])
def test_damaged_files_are_read_or_told_in_one_line(samples: Path, count: int) -> None:
    assert len(find_images(samples)) == 38
    words = [sys.executable, "-W", "ignore", "-c", READ_DAMAGED, str(samples), str(count)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    read = int(done.stdout.split()[0])
    assert 0.1 * count < read < 0.9 * count, "some damage is harmless, some is not"
