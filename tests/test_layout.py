"""The design's rules that a machine can keep: who imports whom, and how large things may grow."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclestyle.checkpoint import save_checkpoint
from cyclestyle.config import check_config
from cyclestyle.training.state import TrainState

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "cyclestyle").rglob("*.py"))
LAYERS = [
    {
        "errors",
        "strict_yaml",
        "files",
        "config",
        "config_errors",
        "boxes",
        "deep",
        "rare_tiff",
        "images",
        "devices",
        "memory",
        "checkpoint",
        "roundtrip",
        "commands",
        "provenance",
    },
    {"registry"},
    {"nets", "data"},
    {"losses", "metrics"},
    {"cyclegan"},
    {"training", "translate"},
    {"train", "evaluate", "demo", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LONGER = {("cyclestyle/training/loop.py", "train"): 100}


def imports(tree: ast.AST) -> list[str]:
    """First parts of the modules of the package that a file imports, also inside functions."""
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [name.split(".")[1] for name in names if name.startswith("cyclestyle.")]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_go_down_and_sizes_stay_within_limits(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    parts = path.relative_to(ROOT / "cyclestyle").with_suffix("").parts
    if parts != ("__init__",):
        own = parts[0]
        for other in imports(tree):
            assert own == other or LEVEL[other] < LEVEL[own] or (LEVEL[own], LEVEL[other]) == (0, 0), (
                f"{own} must not import {other}"
            )
    assert len(text.splitlines()) <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            limit = LONGER.get((path.relative_to(ROOT).as_posix(), node.name), 60)
            assert (node.end_lineno or 0) - node.lineno < limit, f"{node.name} has more than {limit} lines"
            assert len(node.args.args) + len(node.args.kwonlyargs) <= 8, f"{node.name} has more than 8 parameters"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_list_of_files_is_complete() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    first = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = {name.strip(" `") for cell in first for name in cell.split(",")}
    names = {path.relative_to(ROOT / "cyclestyle") for path in SOURCES if path.name != "__init__.py"}
    assert {str(name) for name in names if not {str(name), f"{name.parent}/"} & listed} == set()
    assert all((ROOT / "cyclestyle" / name).exists() for name in listed)


def loaded_by(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return set(out.stdout.split())


@pytest.mark.parametrize("name", ["doctor", "split"])
def test_help_of_the_commands_about_data_imports_no_numpy(name: str) -> None:
    code = f"""
import contextlib, io
from cyclestyle.__main__ import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["{name}", "--help"])
"""
    assert not {"torch", "numpy"} & loaded_by(code)


def test_help_and_mistakes_in_a_configuration_do_not_import_torch() -> None:
    code = """
import contextlib, io
from cyclestyle.train import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
with contextlib.redirect_stderr(io.StringIO()) as told:
    assert main(["--config", "configs/demo.yaml", "data.crop_sise=64"]) == 1
assert "did you mean 'crop_size'" in told.getvalue()
"""
    assert not {"torch", "numpy", "albumentations"} & loaded_by(code)


def test_a_translation_imports_no_training_libraries(tiny: dict[str, Any], drawn: Path, tmp_path: Path) -> None:
    config = check_config(tiny | {"data": tiny["data"] | {"prepare": {"A": {"autocontrast": 2}}}})
    state = TrainState(config, torch.device("cpu"), torch.float32)
    save_checkpoint(tmp_path / "run" / "checkpoints", config, state.state_dict(), keep_last=1)
    words = [str(tmp_path / "run"), str(drawn / "testA"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    loaded = loaded_by(f"from cyclestyle.translate.__main__ import main; assert main({words}) == 0")
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert "torch" in loaded
    assert not {"albumentations", "cv2", "scipy", "tensorboard", "cyclestyle.training"} & loaded
