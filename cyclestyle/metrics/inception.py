"""Features of InceptionV3, as published figures are told from (arXiv:1706.08500), from a local file of weights."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from cyclestyle.errors import UserError
from cyclestyle.files import sha256

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"  # the end of the name begins the file's SHA-256
SOURCE = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"
DEFAULT_PATH = Path("~/.cache/cyclestyle") / WEIGHTS


class InceptionFeatures(nn.Module):
    """(B, 3, H, W) in [-1, 1], rounded to 8 bit -> features (B, 2048) of torch-fidelity's InceptionV3.

    Args:
        weights: the file that torch-fidelity publishes; nothing is downloaded.

    Attributes:
        hash: SHA-256 of the file.

    Raises:
        UserError: torch-fidelity is not installed, or the file is missing or another; what to do.
    """

    def __init__(self, weights: Path, device: torch.device) -> None:
        super().__init__()
        check_inception(weights)
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        try:
            torch.load(weights, weights_only=True, map_location="cpu")  # torch-fidelity would run code in the file
            self.net = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))
        except Exception as error:  # of many kinds on other files
            told = isinstance(error, RuntimeError) and str(error)  # others speak of the inside of files
            reason = told.splitlines()[0].rstrip(": ") if told else "not a state_dict that torch.save wrote"
            raise UserError(
                f"{weights}: not InceptionV3's weights ({reason}); download {SOURCE} and give its path with --inception"
            ) from None
        self.net.to(device)
        self._path, self.hash = weights, sha256(weights)

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.net(pictures.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))[0]
        if not found.isfinite().all():
            raise UserError(f"{self._path}: gives features that are no numbers: it is damaged; download {SOURCE}")
        return found

    @property
    def is_published(self) -> bool:
        """Whether the weights are those that figures are published with."""
        return self.hash.startswith(WEIGHTS.removesuffix(".pth").rpartition("-")[2])


def check_inception(weights: Path) -> None:
    """Whether Inception features can be had, as far as can be told at once.

    Raises:
        UserError: as `InceptionFeatures`.
    """
    missing = {}
    if importlib.util.find_spec("torch_fidelity") is None:  # to import it takes seconds
        missing["torch-fidelity is not installed"] = "pip install 'cyclestyle[metrics]'"
    if not weights.is_file():
        missing[f"{weights}: no such file"] = f"download {SOURCE} and put it there, or give its path with --inception"
    if missing:
        remedy = ", and ".join(missing.values())
        raise UserError(f"{'; '.join(missing)}; for FID, KID, precision and recall {remedy}")
