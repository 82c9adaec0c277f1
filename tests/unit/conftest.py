"""What unit tests share."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cyclestyle.translate.style import WHOLE


@pytest.fixture
def translator(tmp_path: Path) -> Any:
    """What tells a model from others, for clips that another function translates."""
    (tmp_path / "model").write_bytes(b"weights")
    return SimpleNamespace(
        model=SimpleNamespace(path=tmp_path / "model", hash="ab"), direction="AtoB", dtype=torch.float32, style=WHOLE
    )
