"""Maps of a picture that are kept whole, in memory or in a file, and read and written in parts."""

import errno
import math
import os
import tempfile
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Part(NamedTuple):
    """A rectangle of cells (or pixels): rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int

    def at_stride(self, stride: int) -> "Part":
        """The same rectangle in cells that are so many of these wide, which divides it."""
        return Part(*(side // stride for side in self))

    def within(self, outer: "Part") -> "Part":
        """The same rectangle, counted from the corner of another."""
        return Part(self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left)

    def grown(self, margin: int, height: int, width: int) -> "Part":
        """With a margin, as far as there is any in so many rows and columns."""
        return Part(
            max(0, self.top - margin),
            min(height, self.bottom + margin),
            max(0, self.left - margin),
            min(width, self.right + margin),
        )

    def of(self, x: Tensor) -> Tensor:
        """This part of (B, C, H, W)."""
        return x[:, :, self.top : self.bottom, self.left : self.right]


class Room(NamedTuple):
    """Bytes that maps may take, or take: of the memory of the device that works on them, of the machine's, of files.

    The machine's has room where the device is a GPU, as it is not the same then. Files have room for any number.
    """

    device: int
    machine: int = 0
    files: int = 0


class Map(Protocol):
    """Cells (1, C, H, W) of one type, read and written in parts."""

    def read(self, part: Part) -> Tensor:
        """(1, C, h, w), not to be changed."""

    def write(self, part: Part, values: Tensor) -> None:
        """Set a part to (1, C, h, w)."""

    def close(self) -> None:
        """Give the room back."""


class MemoryMap:
    """A map in the memory of a device."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        self._cells = torch.empty((1, *shape), dtype=dtype, device=device, memory_format=torch.channels_last)

    def read(self, part: Part) -> Tensor:
        return part.of(self._cells)

    def write(self, part: Part, values: Tensor) -> None:
        part.of(self._cells).copy_(values)

    def close(self) -> None:
        del self._cells


class MachineMap(MemoryMap):
    """A map in the memory of the machine, for a GPU whose own does not hold it."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        super().__init__(shape, dtype, torch.device("cpu"))

    def read(self, part: Part) -> Tensor:
        return _fast_to_copy(super().read(part))

    def write(self, part: Part, values: Tensor) -> None:
        dense = values.to(self._cells.dtype).contiguous(memory_format=torch.channels_last)  # which a GPU does faster
        super().write(part, _fast_to_copy(dense))


def _fast_to_copy(cells: Tensor) -> Tensor:
    """A copy in one piece of memory, from and to which a GPU copies fast."""
    pinned = torch.cuda.is_available()
    layout = torch.channels_last
    return torch.empty(cells.shape, dtype=cells.dtype, pin_memory=pinned, memory_format=layout).copy_(cells)


class FileMap:
    """A map (C, H, W) in a file that has no name, and so is gone when it is closed or the process ends.

    Raises:
        OSError: the folder cannot be written to, or has no room for it.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, folder: Path) -> None:
        self._shape, self._dtype = shape, dtype
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115, lives as long as the map
        size = math.prod(shape) * dtype.itemsize
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
            else:  # macOS takes the room when it is written to
                os.ftruncate(self._file.fileno(), size)
        except OSError:
            self.close()
            raise

    def read(self, part: Part) -> Tensor:
        cells = torch.empty((part.bottom - part.top, part.right - part.left, self._shape[0]), dtype=self._dtype)
        for row, line in enumerate(_bytes(cells), part.top):
            if os.preadv(self._file.fileno(), [line], self._offset(row, part.left)) < line.nbytes:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return cells.permute(2, 0, 1)[None]

    def write(self, part: Part, values: Tensor) -> None:
        cells = values[0].permute(1, 2, 0).to(self._dtype).contiguous().cpu()  # in the order of the file
        for row, line in enumerate(_bytes(cells), part.top):
            if os.pwrite(self._file.fileno(), line, self._offset(row, part.left)) < line.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self._file.close()

    def _offset(self, row: int, column: int) -> int:
        channels, _, width = self._shape
        return (row * width + column) * channels * self._dtype.itemsize


def _bytes(cells: Tensor) -> np.ndarray:
    """The memory of (H, W, C), a row of bytes for each of H."""
    return cells.flatten(1).view(torch.uint8).numpy()
