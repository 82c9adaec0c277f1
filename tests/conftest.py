"""What tests share: a small drawn set, a configuration that trains in seconds, and the folder of real data."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclestyle.checkpoint import save_checkpoint
from cyclestyle.config import check_config
from cyclestyle.data.synthetic import write_set
from cyclestyle.training.state import TrainState

torch.set_num_threads(1)  # the networks of tests are too small to share
os.environ["OMP_NUM_THREADS"] = "1"  # in the commands that tests start, too


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn set of 8 and 8 training pictures and 3 test pairs, 48 pixels."""
    root = tmp_path_factory.mktemp("drawn") / "set"
    write_set(root, count=8, size=48, seed=0, test_count=3)
    return root


@pytest.fixture(scope="session")
def tiny(drawn: Path) -> dict[str, Any]:
    """A configuration, as plain values, whose steps take milliseconds."""
    return {
        "data": {"root": str(drawn), "names": ["ink", "photo"], "load_size": 40, "crop_size": 32, "workers": 1},
        "model": {
            "generator": {"channels": 4, "blocks": 1, "upsample": "resize"},
            "discriminator": {"name": "patchgan", "channels": 4, "layers": 2},
        },
        "train": {"max_steps": 8, "save_every_steps": 3, "precision": "fp32", "pool_size": 3, "ema": 0.9},
        "report": {"log_every_steps": 2, "sample_every_steps": 4, "sample_count": 2},
    }


@pytest.fixture(scope="session")
def run_dir(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of that configuration, before its first step."""
    folder = tmp_path_factory.mktemp("run")
    config = check_config(tiny)
    state = TrainState(config, torch.device("cpu"), torch.float32)
    save_checkpoint(folder / "checkpoints", config, state.state_dict(), keep_last=1)
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real pictures that CYCLESTYLE_DATA names."""
    folder = os.environ.get("CYCLESTYLE_DATA")
    if not folder:
        pytest.skip("CYCLESTYLE_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Weights that fit InceptionV3, drawn; 96 MB."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        net = theirs.FeatureExtractorInceptionV3("", ["2048"])
    torch.manual_seed(0)
    for weight in net.parameters():
        if weight.ndim == 4:
            torch.nn.init.kaiming_normal_(weight)
    torch.save(net.state_dict(), path)
    yield path
    path.unlink()
