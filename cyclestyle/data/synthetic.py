"""Drawn landscapes: one scene generator, two renderings, a photograph and an ink painting.

The training folders share no scene; in the test folders files of equal name show the same scene, so that a translation
has a ground truth and its quality can be measured without any network.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from cyclestyle.commands import Parser, run_command
from cyclestyle.files import refuse_used_folder

Array = np.ndarray
FINER = 2  # scenes are drawn this many times larger, then reduced, which smooths edges


@dataclass(frozen=True)
class Layer:
    """A mountain ridge or the near bank; maps are (n, n) in pixels of the drawing, n = FINER * size.

    Attributes:
        top: (n,) row of the outline in each column.
        depth: 0 far to 1 near.
        relief: bumps of the surface, about -1 to 1, positive where it is lit.
    """

    top: Array
    depth: float
    relief: Array


@dataclass(frozen=True)
class Scene:
    """What both renderings show.

    Attributes:
        layers: from far to near.
        horizon: row where the water or the plain begins.
        has_water: a lake, or a misty plain.
        clouds: (n, n) 0 to 1.
        trunks, leaves: (n, n) 0 to 1, how much of a pixel a tree covers.
        leaf_light: (n, n) 0 to 1, brightness of the foliage.
    """

    layers: list[Layer]
    horizon: int
    has_water: bool
    clouds: Array
    trunks: Array
    leaves: Array
    leaf_light: Array


def draw_scene(rng: np.random.Generator, size: int) -> Scene:
    """Invent a landscape for pictures of `size` x `size` pixels."""
    n = size * FINER
    horizon = int(n * rng.uniform(0.62, 0.74))
    count = int(rng.integers(2, 5))
    sun_left = rng.random() < 0.5
    layers = []
    for i in range(count):
        depth = (i + 0.6) / count
        height = n * rng.uniform(0.24, 0.46) * (1.15 - 0.6 * depth)
        layers.append(_layer(rng, n, horizon + n * 0.02 * i, height, depth, sun_left, roughness=0.55))
    bank_height = n * rng.uniform(0.08, 0.2)
    slope = np.linspace(1, 0, n) if rng.random() < 0.5 else np.linspace(0, 1, n)
    bank = _layer(rng, n, n * 1.02, bank_height, 1.0, sun_left, roughness=0.5)
    bank = Layer(bank.top - slope * n * 0.1, 1.0, bank.relief)
    layers.append(bank)
    trunks, leaves, light = _trees(rng, n, bank.top, slope)
    clouds = np.clip(_noise2(rng, n, 3, stretch=3) * 1.6 - 0.2, 0, 1)
    return Scene(layers, horizon, rng.random() < 0.7, clouds, trunks, leaves, light)


def draw_photo(scene: Scene, rng: np.random.Generator) -> Array:
    """The scene as a photograph: light, haze, texture, water. Returns uint8 (size, size, 3)."""
    n = len(scene.clouds)
    rows = np.linspace(0, 1, n)[:, None, None]
    zenith = np.array([0.30, 0.50, 0.80]) + rng.uniform(-0.05, 0.05, 3)
    haze = np.array([0.80, 0.86, 0.92]) + rng.uniform(-0.04, 0.04, 3)
    fade = np.clip(rows * n / scene.horizon, 0, 1)
    picture = np.broadcast_to(zenith + (haze - zenith) * fade, (n, n, 3))
    cloud = (scene.clouds * np.clip(1.2 - rows[..., 0], 0, 1))[..., None] * 0.8
    picture = picture * (1 - cloud) + 0.97 * cloud
    for layer in scene.layers[:-1]:
        picture = _photo_layer(picture, layer, scene.horizon, haze, rng)
    picture = _photo_ground(picture, scene, haze, rng)
    picture = _photo_layer(picture, scene.layers[-1], n, haze, rng)
    trunk = scene.trunks[..., None]
    picture = picture * (1 - trunk) + np.array([0.25, 0.18, 0.12]) * trunk
    leaf = scene.leaves[..., None]
    green = np.array([0.10, 0.20, 0.07]) + scene.leaf_light[..., None] * np.array([0.22, 0.30, 0.10])
    picture = picture * (1 - leaf) + green * leaf
    return _finish(picture + rng.normal(0, 0.012, (n, n, 1)))


def draw_ink(scene: Scene, rng: np.random.Generator) -> Array:
    """The scene as an ink painting: outlines, wash, blank paper, paper grain. Returns uint8 (size, size, 3)."""
    n = len(scene.clouds)
    rows = np.arange(n)[:, None]
    ink = np.zeros((n, n))
    for index, layer in enumerate(scene.layers):
        last = index == len(scene.layers) - 1
        bottom = n if last else scene.horizon
        inside = _below(layer.top, n) * _above(bottom, n)
        ink = ink * (1 - _below(layer.top, n))  # nearer paper hides what is behind
        deep = np.clip((rows - layer.top) / (np.maximum(bottom - layer.top, 8) * 0.9), 0, 1)
        strength = 0.25 + 0.5 * layer.depth
        wash = strength * (1 - deep) ** 1.6 * (0.75 + 0.5 * _noise2(rng, n, 4))
        shade = np.clip(-layer.relief, 0, 1) * (0.35 + 0.6 * layer.depth) * (1 - deep) ** 0.8
        dry = np.clip(_noise2(rng, n, 6, stretch=0.35) * 3 - 0.9, 0, 1)  # the brush skips over the grain
        ink = np.maximum(ink, inside * (0.55 * wash + shade * (0.45 + 0.55 * dry)))
        width = n / 150 * (0.8 + layer.depth) * (0.4 + 1.4 * _noise1(rng, n, 5))
        line = np.exp(-(((rows - layer.top) / np.maximum(width, 0.5)) ** 2)) * np.clip(
            _noise1(rng, n, 6) * 3 - 0.5, 0.15, 1
        )
        ink = np.maximum(ink, line * (0.35 + 0.6 * layer.depth))
    if scene.has_water:
        ink = np.maximum(ink, _ripples(rng, n, scene) * 0.3)
    dots = np.clip(1.1 - 0.7 * scene.leaf_light, 0, 1) * (0.7 + 0.5 * _noise2(rng, n, 6))
    ink = np.maximum(ink * (1 - 0.6 * scene.leaves), np.maximum(scene.leaves * dots, scene.trunks * 0.95))
    soft = Image.fromarray((np.clip(ink, 0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(n / 400))
    ink = np.asarray(soft) / 255 * 0.93
    paper = np.array([0.945, 0.918, 0.850]) + rng.uniform(-0.01, 0.01)
    grain = 1 + 0.05 * (_noise2(rng, n, 7, stretch=2) - 0.5) + 0.03 * (_noise2(rng, n, 2) - 0.5)
    black = np.array([0.10, 0.10, 0.11])
    return _finish(paper * grain[..., None] * (1 - ink[..., None]) + black * ink[..., None])


def write_set(out: Path, count: int, size: int, seed: int, test_count: int) -> None:
    """Draw `count` training pictures a domain (A ink, B photo, no common scene) and `test_count` test pairs.

    Raises:
        UserError: `out` exists and is not empty.
    """
    refuse_used_folder(out)
    jobs = [
        (out / folder / f"{i:04d}.png", draw, [seed, part, i])
        for folder, draw, part, number in (
            ("trainA", draw_ink, 0, count),
            ("trainB", draw_photo, 1, count),
            ("testA", draw_ink, 2, test_count),
            ("testB", draw_photo, 2, test_count),
        )
        for i in range(number)
    ]
    from cyclestyle.images import write_image  # imports torch, which help can do without

    def draw_one(path: Path, draw: Callable[[Scene, np.random.Generator], Array], key: list[int]) -> None:
        scene = draw_scene(np.random.default_rng(key), size)
        write_image(path, draw(scene, np.random.default_rng([*key, 1])))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            done = pool.map(draw_one, *zip(*jobs, strict=True))
            list(tqdm(done, "drawing", len(jobs), unit="picture", disable=None))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
            raise


def _photo_layer(picture: Array, layer: Layer, bottom: int, haze: Array, rng: np.random.Generator) -> Array:
    n = len(picture)
    deep = np.clip((np.arange(n)[:, None] - layer.top) / np.maximum(bottom - layer.top, 8), 0, 1)[..., None]
    texture = _noise2(rng, n, 6)[..., None]
    rock, forest = np.array([0.46, 0.42, 0.36]), np.array([0.22, 0.33, 0.15])
    green = np.clip(deep * 1.6 + texture * 0.8 - 0.5 + 0.5 * layer.depth, 0, 1)
    light = 0.78 + 0.45 * layer.relief[..., None] + 0.25 * (texture - 0.5)
    colour = (rock + (forest - rock) * green) * light
    mist = np.clip((1 - layer.depth) * 0.75 + 0.35 * deep * (1 - layer.depth) ** 0.5, 0, 0.93)
    colour = colour * (1 - mist) + haze * mist
    mask = (_below(layer.top, n) * _above(bottom, n))[..., None]
    return picture * (1 - mask) + colour * mask


def _photo_ground(picture: Array, scene: Scene, haze: Array, rng: np.random.Generator) -> Array:
    """Water that mirrors what stands above it, or a plain that fades into haze."""
    n, top = len(picture), scene.horizon
    down = np.linspace(0, 1, n - top)[:, None, None]
    if scene.has_water:
        rows = np.clip(2 * top - np.arange(top, n), 0, n - 1)
        mirror = picture[rows]
        shift = ((_noise2(rng, n, 6, stretch=4)[top:] - 0.5) * n * 0.05).astype(int)
        mirror = mirror[np.clip(np.arange(n - top)[:, None] + shift, 0, n - top - 1), np.arange(n)[None]]
        ripple = (_noise2(rng, n, 7, stretch=6)[top:, :, None] - 0.5) * 0.16 * (0.3 + down)
        ground = mirror * 0.72 + np.array([0.10, 0.19, 0.26]) * (0.7 + 0.3 * down) + ripple
    else:
        texture = _noise2(rng, n, 7, stretch=3)[top:, :, None]
        grass = np.array([0.40, 0.46, 0.22]) * (0.7 + 0.6 * texture)
        ground = grass * np.clip(down * 2, 0, 1) ** 0.7 + haze * (1 - np.clip(down * 2, 0, 1) ** 0.7)
        mist = 0.9 * np.exp(-(((np.arange(top) - top) / (0.07 * n)) ** 2))[:, None, None]
        picture = picture[:top] * (1 - mist) + haze * mist
    return np.concatenate([picture[:top], ground])


def _ripples(rng: np.random.Generator, n: int, scene: Scene) -> Array:
    """A few thin level strokes on the water, none on the banks."""
    canvas = Image.new("L", (n, n))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(4, 9))):
        y = scene.horizon + (n - scene.horizon) * rng.uniform(0.1, 0.8)
        x, length = rng.uniform(0, n), n * rng.uniform(0.08, 0.3)
        points = [(x + t * length, y + np.sin(t * 9) * n / 300) for t in np.linspace(0, 1, 12)]
        draw.line(points, fill=255, width=max(1, n // 200))
    return np.asarray(canvas) / 255 * (1 - _below(scene.layers[-1].top, n))


def _trees(rng: np.random.Generator, n: int, ground: Array, slope: Array) -> tuple[Array, Array, Array]:
    """A group of trees on the higher side of the bank."""
    trunks, leaves, light = (Image.new("L", (n, n)) for _ in range(3))
    on_trunks, on_leaves, on_light = (ImageDraw.Draw(image) for image in (trunks, leaves, light))
    centre = rng.uniform(0.08, 0.35) if slope[0] > slope[-1] else rng.uniform(0.65, 0.92)
    for _ in range(int(rng.integers(1, 5))):
        x = float(np.clip((centre + rng.normal(0, 0.09)) * n, 0, n - 1))
        y = ground[int(x)] + n * 0.01
        height = n * rng.uniform(0.14, 0.34)
        lean = rng.normal(0, 0.12) * height
        for t in np.linspace(0, 1, 16):  # a trunk that thins towards the top and bends
            r = n / 90 * (1.1 - t)
            cx, cy = x + lean * t**1.5, y - height * t
            on_trunks.ellipse((cx - r, cy - r * 2, cx + r, cy + r * 2), fill=255)
        for _ in range(int(rng.integers(3, 7))):  # tufts of leaves around the upper trunk
            t = rng.uniform(0.45, 1.05)
            tx, ty = x + lean * t**1.5 + rng.normal(0, 0.16) * height, y - height * t
            for _ in range(45):
                px, py = tx + rng.normal(0, 0.11) * height, ty + rng.normal(0, 0.05) * height
                r = n / 110 * rng.uniform(0.5, 1.3)
                box = (px - r, py - r, px + r, py + r)
                on_leaves.ellipse(box, fill=255)
                on_light.ellipse(box, fill=int(np.clip(128 + (ty - py) / height * 900 + rng.normal(0, 40), 0, 255)))
    trunk, leaf, bright = (np.asarray(image) / 255 for image in (trunks, leaves, light))
    return trunk, leaf, bright


def _layer(
    rng: np.random.Generator, n: int, base: float, height: float, depth: float, sun_left: bool, roughness: float
) -> Layer:
    profile = _noise1(rng, n, 8, roughness)
    if depth < 1:  # mountains: a few peaks on top of the noise
        x = np.linspace(0, 1, n)
        for _ in range(int(rng.integers(1, 4))):
            centre, width = rng.uniform(0, 1), rng.uniform(0.06, 0.2)
            profile = np.maximum(
                profile, np.exp(-np.abs(x - centre) / width) * rng.uniform(0.7, 1.2) * (0.7 + 0.6 * profile)
            )
    top = base - height * np.clip(profile, 0.05, 1.3)
    bumps = _noise2(rng, n, 6, stretch=0.5)
    across = np.gradient(bumps, axis=1) * n / 10
    facing = np.gradient(np.convolve(np.pad(top, 12, mode="edge"), np.ones(25) / 25, "valid"))[None]
    relief = across + np.clip(facing, -1.5, 1.5) * 0.35
    return Layer(top, depth, np.clip(relief if sun_left else -relief, -1, 1))


def _below(top: Array | float, n: int) -> Array:
    """(n, n): 1 below a line, 0 above it, with a soft edge of a pixel."""
    return np.clip(np.arange(n)[:, None] - top + 0.5, 0, 1) * np.ones((1, n))


def _above(row: float, n: int) -> Array:
    return 1 - _below(row, n)


def _noise1(rng: np.random.Generator, n: int, octaves: int, roughness: float = 0.5) -> Array:
    """(n,) fractal noise, 0 to 1."""
    total = np.zeros(n)
    for octave in range(octaves):
        knots = rng.random(2 + 2**octave)
        x = np.linspace(0, len(knots) - 1.001, n)
        t = x % 1
        t = t * t * (3 - 2 * t)
        left = x.astype(int)
        total += roughness**octave * (knots[left] * (1 - t) + knots[left + 1] * t)
    return (total - total.min()) / max(np.ptp(total), 1e-9)


def _noise2(rng: np.random.Generator, n: int, octaves: int, stretch: float = 1.0) -> Array:
    """(n, n) fractal noise, 0 to 1; `stretch` over 1 makes it wider than high."""
    total = np.zeros((n, n), np.float32)
    for octave in range(octaves):
        cells = 2 ** (octave + 1)
        shape = (int(min(n, cells * max(1.0, stretch))) + 1, int(min(n, cells * max(1.0, 1 / stretch))) + 1)
        coarse = Image.fromarray(rng.random(shape, np.float32))
        total += 0.55**octave * np.asarray(coarse.resize((n, n), Image.Resampling.BICUBIC))
    return (total - total.min()) / max(float(np.ptp(total)), 1e-9)


def _finish(picture: Array) -> Array:
    """float (n, n, 3) -> uint8, reduced by FINER."""
    full = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    return np.asarray(full.reduce(FINER))


def main(argv: list[str] | None = None) -> int:
    """Draw a set as the arguments say; returns the exit status."""
    return run_command(_main, argv)


def _main(argv: list[str] | None) -> int:
    parser = Parser(
        "synthetic",
        "python -m cyclestyle.data.synthetic",
        description="Draw landscapes as ink paintings (trainA, testA) and as photographs (trainB, testB). "
        "Test pictures of equal name show the same scene.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder for the set")
    parser.add_argument("--count", type=int, default=200, help="training pictures a domain (default: 200)")
    parser.add_argument("--test-count", type=int, default=20, help="test pairs (default: 20)")
    parser.add_argument("--size", type=int, default=144, help="side in pixels (default: 144)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other scenes (default: 0)")
    args = parser.parse_args(argv)
    for name, least in (("count", 1), ("test_count", 1), ("size", 32), ("seed", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(args, name)}")
    write_set(args.out, args.count, args.size, args.seed, args.test_count)
    print(f"{args.out}: {args.count} training pictures a domain and {args.test_count} test pairs of {args.size} pixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
