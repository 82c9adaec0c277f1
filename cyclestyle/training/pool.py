"""History of pictures for the discriminators (Shrivastava et al., arXiv:1612.07828, section 2.3)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class ImagePool:
    """Keeps up to `size` pictures; once full, every second one asked for is an old one. Size 0 passes all through.

    They are kept in half precision, which is finer than the levels of a file and takes half the memory. All have one
    size: when the first of a new one comes, the others are `resized`, or forgotten. Pixels are repeated then, so that
    what judges averages of them sees what it saw before.
    """

    def __init__(self, size: int, resized: bool = False) -> None:
        self.size, self.resized = size, resized
        self.images: list[Tensor] = []

    def query(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Exchange new pictures (B, 3, H, W) for as many new or old ones; `rng` decides."""
        images = images.detach()
        if self.size == 0:
            return images
        if self.images and self.images[0].shape[1:] != images.shape[1:]:
            kept = self.images if self.resized else []
            self.images = [
                F.interpolate(image.float(), images.shape[2:], mode="nearest").to(torch.float16) for image in kept
            ]
        chosen = []
        for image in images.split(1):
            if len(self.images) < self.size:
                self.images.append(image.to(torch.float16, copy=True))
                chosen.append(image)
            elif rng.random() < 0.5:
                index = int(rng.integers(self.size))
                chosen.append(self.images[index].to(image.dtype))
                self.images[index] = image.to(torch.float16, copy=True)
            else:
                chosen.append(image)
        return torch.cat(chosen)

    def draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """So many of those that are kept, (count, 3, H, W), some of them twice where there are few."""
        return torch.cat([self.images[int(i)] for i in rng.integers(len(self.images), size=count)]).float()

    def state_dict(self) -> dict[str, list[Tensor]]:
        return {"images": self.images}

    def load_state_dict(self, state: dict[str, list[Tensor]], device: torch.device) -> None:
        """Take over kept pictures, at most `size` of them."""
        self.images = [image.to(device, torch.float16) for image in state["images"][: self.size]]
