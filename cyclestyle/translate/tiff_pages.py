"""The pages of a TIFF, each opened by Pillow, or, where it does not know it or gets it wrong, by `rare_page`."""

import warnings
from contextlib import suppress
from pathlib import Path

from PIL import Image

from cyclestyle.deep import bits_of
from cyclestyle.rare_tiff import bits_of_pages, is_misread, is_rare, rare_page


class TiffPages:
    """The pages of a file.

    Args:
        first: of `images.open_image`.
        most: pixels that a rare page may have.

    Attributes:
        count: of pages.

    Raises:
        Image.UnidentifiedImageError, SyntaxError: one of them cannot be read, or is damaged.
    """

    def __init__(self, path: Path, first: Image.Image, most: int) -> None:
        self._path, self._most = path, most
        self._rare = (0, first)  # the one that was opened last
        self._known: Image.Image | None = first
        self._bits: list[int] = []
        if is_rare(first):
            self._known = None
            with suppress(Image.UnidentifiedImageError, SyntaxError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._known = Image.open(path)
                self.count: int = getattr(self._known, "n_frames", 1)
                return
            self._bits = bits_of_pages(path)
            self._known = None
        self.count = len(self._bits) or getattr(first, "n_frames", 1)

    def is_rare(self, number: int) -> bool:
        """Whether Pillow does not know a page, or gets it wrong."""
        if self._known is None:
            return True
        self._known.seek(number)
        return is_misread(self._known)

    def bits_of(self, number: int) -> int:
        """Bits a channel of a page has; nothing is decoded."""
        if self._known is None:
            return self._bits[number]
        self._known.seek(number)
        return bits_of(self._known, self._path)

    def open(self, number: int) -> Image.Image:
        """A page, which is not decoded yet."""
        if not self.is_rare(number):
            assert self._known is not None
            return self._known
        if self._rare[0] != number or not is_rare(self._rare[1]):
            self._rare = number, rare_page(self._path, self._most, number)
        return self._rare[1]

    def close(self) -> None:
        """Close the file."""
        for image in (self._rare[1], self._known):
            if image is not None:
                image.close()
