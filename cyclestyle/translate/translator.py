"""What users hold: a trained generator that takes and gives pictures."""

import shutil
import tempfile
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cyclestyle.checkpoint import CheckpointError, TrainedModel, read_model
from cyclestyle.cyclegan import make_generator
from cyclestyle.devices import pick_device, pick_precision
from cyclestyle.errors import OptionError, UserError, choices
from cyclestyle.images import pad_to_multiple, padded_size, prepare_image, to_pixels, to_tensor
from cyclestyle.memory import free_memory, is_out_of_memory, keep_freed_memory, peak_memory, size_text
from cyclestyle.nets import fix_weights
from cyclestyle.translate.enlarge import enlarged, reduced, reduced_size
from cyclestyle.translate.maps import Room
from cyclestyle.translate.style import WHOLE, Style
from cyclestyle.translate.tiles import Tiles

TILE, LARGE_TILE, LEAST_TILE = 512, 1024, 64  # pixels; a GPU with memory takes the second
ROOM = 3 * 2**30  # for maps; with them 100 megapixels take less than 6 GB on a CPU, and than 8 GB on a GPU
SURELY_ENOUGH = 5000  # bytes of memory for a value of pictures; where there are so many, none are counted
DIRECTIONS = {"AtoB": "gen_ab", "BtoA": "gen_ba"}


class Translator:
    """Translates uint8 or uint16 (H, W, 3) sRGB pictures of any size; the result has the same size and type.

    Args:
        model: of `read_model`; `Translator.load` takes a path.
        direction: AtoB or BtoA.
        device: auto, cpu, cuda or mps.
        precision: auto, fp32, bf16 or fp16, of convolutions; auto: fp32 for uint16 pictures, else the fastest.
        tile: side in pixels of the tiles that larger pictures go through in; auto: tiles only where memory would not
            do for the whole, smaller ones where it runs out; off: never. The translation is the same, but for rounding.
        style: how much of the style, and at which size.

    Attributes:
        source, target: what the two domains are called.
        style: as given.
        scratch: folder for what tiles keep and memory does not hold; at first that for temporary files.

    Raises:
        UserError: the direction, device or precision cannot be had, or the weights do not fit the description.
    """

    def __init__(
        self,
        model: TrainedModel,
        direction: str = "AtoB",
        device: str = "auto",
        precision: str = "auto",
        tile: int | str = "auto",
        style: Style = WHOLE,
    ) -> None:
        if direction not in DIRECTIONS:
            raise OptionError(f"direction: '{direction}' is not a choice; {choices(direction, DIRECTIONS)}")
        names = model.config.data.names
        self.source, self.target = names if direction == "AtoB" else names[::-1]
        self.direction, self.model, self.style = direction, model, style
        data = model.config.data
        self._short = style.short_side(None if data.resize == "none" else data.load_size)
        self.device = pick_device(device)
        self.dtype, self._precision = pick_precision(precision, self.device), precision
        net = make_generator(model.config.model)
        try:
            net.load_state_dict(model.generators[DIRECTIONS[direction]])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(f"{model.path}: its weights do not fit its description: {error}") from None
        net = net.to(self.device, self.dtype).eval().requires_grad_(False)
        if self.dtype != torch.float32:  # convolutions are faster that way
            net.to(memory_format=torch.channels_last)
        if self.device.type == "cpu":
            fix_weights(net)
        self._net, self._stride = net, net.stride
        self._tile, self.scratch = _side(tile, self._stride), Path(tempfile.gettempdir())
        self._short_of_memory: dict[tuple[int, ...], int | None] = {}  # sides of tiles, None: none, by size of pictures

    @classmethod
    def load(
        cls,
        path: str | Path,
        direction: str | None = None,
        to: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        tile: int | str = "auto",
        style: Style = WHOLE,
    ) -> "Translator":
        """Load a run folder, a checkpoint or a safetensors file.

        Args:
            direction: AtoB (the default) or BtoA.
            to: the name of the domain to translate to, in place of a direction.
            device, precision, tile, style: as of the constructor.

        Raises:
            UserError: nothing can be read there, or as the constructor.
        """
        model = read_model(Path(path))
        names = model.config.data.names
        if to is not None and direction is not None:
            raise UserError("give either a direction or the domain to translate to, not both")
        if to is not None:
            if to not in names:
                raise OptionError(f"to: {model.path} has no domain '{to}'; {choices(to, names)}")
            direction = "AtoB" if to == names[1] else "BtoA"
        return cls(model, direction or "AtoB", device, precision, tile, style)

    def reversed(self) -> "Translator":
        """One for the other direction, at the full strength and in its own colours."""
        direction = next(d for d in DIRECTIONS if d != self.direction)
        back = Translator(self.model, direction, self.device.type, self._precision, self._tile, Style(self.style.scale))
        back.scratch = self.scratch
        return back

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Translate one picture, uint8 or uint16 (H, W, 3) -> the same."""
        return self.batch([picture])[0]

    def batch(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Translate pictures, (H, W, 3) each, in one pass for each size and type that occurs."""
        seen = [_checked(p) if self._short is None else reduced(_checked(p), self._short) for p in pictures]
        parts = zip(pictures, seen, self._generated(seen), strict=True)
        return [self.style.finish(whole, enlarged(made, small, whole)) for whole, small, made in parts]

    def _generated(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the generator makes of pictures."""
        prepared = [prepare_image(p, self.model.config.data, self.direction[0]) for p in pictures]
        padded = [pad_to_multiple(picture, self._stride) for picture in prepared]
        results: list[np.ndarray | None] = [None] * len(pictures)
        for kind in dict.fromkeys((p.shape, p.dtype) for p in padded):
            group = [i for i, p in enumerate(padded) if (p.shape, p.dtype) == kind]
            translated = self._for(kind[1])._translate(np.stack([padded[i] for i in group]))
            for i, result in zip(group, translated, strict=True):
                height, width = pictures[i].shape[:2]
                results[i] = result[:height, :width]
        return [result for result in results if result is not None]

    def _for(self, dtype: np.dtype[Any]) -> "Translator":
        """This one, or one that computes so finely that 16 bits of its results mean something."""
        if self._precision != "auto" or self.dtype == torch.float32 or dtype == np.uint8:
            return self
        self._fine.scratch = self.scratch
        return self._fine

    @cached_property
    def _fine(self) -> "Translator":
        return Translator(self.model, self.direction, self.device.type, "fp32", self._tile, self.style)

    def size_seen(self, picture: np.ndarray) -> tuple[int, int]:
        """Height and width that the network sees; pictures that share them go through it together."""
        height, width = reduced_size(picture, self._short) if self._short else picture.shape[:2]
        return padded_size(height, width, self._stride)

    def tiling(self, picture: np.ndarray) -> str | None:
        """How a picture will be translated if not in one pass: tiles, and where what they keep will lie."""
        return self._for(picture.dtype)._tiling(picture)

    def _tiling(self, picture: np.ndarray) -> str | None:
        picture = np.empty((*self.size_seen(picture), 3), picture.dtype)
        core = self._core(picture)
        return None if core is None else self._in_words(picture, core)

    def _in_words(self, picture: np.ndarray, core: int) -> str:
        tiles = Tiles(self._net.stages(), picture, core, self.device, self.dtype)
        taken, whose = tiles.kept(self._room()), "the GPU's " if self.device.type == "cuda" else ""
        kept = [f"{size_text(taken.device)} of {whose}memory"] * (taken.device > 0)
        kept += [f"{size_text(taken.machine)} of the machine's"] * (taken.machine > 0)
        kept += [f"a scratch file of {size_text(taken.files)} in {self.scratch}"] * (taken.files > 0)
        needed = size_text(self._memory(picture[None]))
        return f"in tiles of {core} pixels, with {' and '.join(kept)}; one pass would need {needed} of memory"

    def _translate(self, pictures: np.ndarray) -> np.ndarray:
        shape, several = pictures[0].shape, len(pictures) > 1 and self._tile != "off"
        if several and (shape in self._short_of_memory or self._is_tight(pictures)):
            return np.concatenate([self._translate(picture[None]) for picture in pictures])
        core = self._core(pictures[0])
        while True:
            try:
                with torch.inference_mode():
                    return self._attempt(pictures, core)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if several:
                self._short_of_memory[shape] = None
                return self._translate(pictures)
            core = self._short_of_memory[shape] = self._smaller(core, pictures[0])
            if core is None:
                raise self._too_large(pictures, ", more than there is")
            if self.device.type == "cpu":
                keep_freed_memory(False)
            tqdm.write(f"memory has run out; again {self._in_words(pictures[0], core)}")

    def _attempt(self, pictures: np.ndarray, core: int | None) -> np.ndarray:
        """Translate in tiles of a side, or, if it is None, in one pass."""
        if core is not None:
            return np.stack([self._in_tiles(picture, core) for picture in pictures])
        self._check_memory(pictures)
        made = self._net(to_tensor(pictures, self.device).to(self.dtype))
        return self._pixels(pictures.dtype, made)

    def _in_tiles(self, picture: np.ndarray, core: int) -> np.ndarray:
        tiles, room = Tiles(self._net.stages(), picture, core, self.device, self.dtype), self._room()
        needed = tiles.kept(room).files
        free = shutil.disk_usage(self.scratch).free
        if needed > free:
            raise UserError(
                f"{self.scratch}: {size_text(needed)} are needed there for a scratch file, {size_text(free)} are "
                "free; free some space, or choose another folder"
            )
        if self.device.type == "cpu":
            keep_freed_memory()  # tiles are small
        try:
            with tqdm(total=tiles.work, unit="tile", disable=None, leave=False) as bar:
                return tiles.translate(room, self.scratch, partial(self._pixels, picture.dtype), bar.update)
        except OSError as error:
            raise UserError(
                f"{self.scratch}: a scratch file cannot be kept there: {error.strerror}; free some space, or choose "
                "another folder"
            ) from None

    def _pixels(self, dtype: np.dtype[Any], made: Tensor) -> np.ndarray:
        if made.isnan().any():  # which would become black pixels
            raise UserError(
                f"{self.model.path}: translates {self.source} to {self.target} into what is not a number; its weights "
                "are damaged or its training has diverged: take an earlier checkpoint"
            )
        return to_pixels(made, dtype)

    def _core(self, picture: np.ndarray) -> int | None:
        """The side of the tiles that a picture goes through in; None: in one pass."""
        longest, known = max(picture.shape[:2]), self._short_of_memory.get(picture.shape)
        if known is not None:
            return known
        if self._tile != "auto":
            return None if self._tile == "off" or longest <= int(self._tile) else int(self._tile)
        if not self._is_tight(picture[None]):
            return None
        core, free = self._auto_side(), free_memory(self.device)
        if longest > core:
            return core
        return None if free is None or self._memory(picture[None]) <= free else self._smaller(None, picture)

    def _smaller(self, core: int | None, picture: np.ndarray) -> int | None:
        """The side that `auto` takes after a pass, or after tiles of a side; None: there is none."""
        if self._tile != "auto":
            return None
        side = 2 * self._auto_side() if core is None else core
        while side > LEAST_TILE:
            side //= 2
            if side < max(picture.shape[:2]):
                return side
        return None

    def _auto_side(self) -> int:
        """The side of tiles, in pixels; small ones take a GPU longer to launch than to run."""
        free = free_memory(self.device)
        large = self.device.type == "cuda" and free is not None and LARGE_TILE**2 * self._bytes_a_pixel < free / 3
        return LARGE_TILE if large else TILE

    def _room(self) -> Room:
        """What maps may take of memory."""
        free = free_memory(self.device)
        if self.device.type == "cuda" and free is not None:
            return Room(min(ROOM, free // 2), (free_memory(torch.device("cpu")) or 0) // 2)
        return Room(ROOM if free is None else min(ROOM, free // 4))

    def _is_tight(self, pictures: np.ndarray) -> bool:
        """Whether a pass takes more than half of the memory that is free."""
        free = free_memory(self.device)
        return free is not None and pictures.size * SURELY_ENOUGH > free and self._memory(pictures) > free / 2

    def _check_memory(self, pictures: np.ndarray) -> None:
        """Whether there is enough; if there only just is, spend none on speed."""
        tight = self._is_tight(pictures)
        if self.device.type == "cpu":
            keep_freed_memory(not tight)
        free = free_memory(self.device)
        if tight and free is not None and self._memory(pictures) > free:
            raise self._too_large(pictures, f" and {size_text(free)} are free")

    def _too_large(self, pictures: np.ndarray, compared: str) -> UserError:
        (count, height, width), needed = pictures.shape[:3], size_text(self._memory(pictures))
        auto = self._tile == "auto"
        remedy = "free some, or take a smaller scale" if auto else "use smaller tiles or a smaller batch"
        return UserError(f"{count} x {width}x{height} pixels need about {needed} of memory{compared}; {remedy}")

    def _memory(self, pictures: np.ndarray) -> float:
        """Bytes at the peak of a pass."""
        return pictures.size / 3 * self._bytes_a_pixel

    @cached_property
    @torch.no_grad()
    def _bytes_a_pixel(self) -> float:
        shape = (1, 3, 512, 512)
        return peak_memory(lambda: self._net(torch.empty(shape, dtype=self.dtype, device=self.device))) / 512**2


def _checked(picture: np.ndarray) -> np.ndarray:
    if not isinstance(picture, np.ndarray):
        raise UserError(
            f"a picture is an array, not {type(picture).__name__}; np.asarray(Image.open(path).convert('RGB')) is one"
        )
    if picture.dtype not in (np.uint8, np.uint16) or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise UserError(f"a picture is uint8 or uint16 (height, width, 3), not {picture.dtype} {picture.shape}")
    return picture


def _side(tile: int | str, stride: int) -> int | str:
    if tile in ("auto", "off"):
        return tile
    if isinstance(tile, int) and tile >= LEAST_TILE:
        return -(-tile // stride) * stride
    raise OptionError(f"tile: {tile!r} is not a choice; accepted: auto, off, or a side of {LEAST_TILE} pixels or more")
