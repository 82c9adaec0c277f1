"""The design's rules that a machine can keep: who imports whom, and how large things may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "cyclestyle").rglob("*.py"))
LAYERS = [
    {
        "errors",
        "strict_yaml",
        "files",
        "config",
        "config_errors",
        "images",
        "devices",
        "checkpoint",
        "roundtrip",
        "commands",
    },
    {"registry"},
    {"nets", "data"},
    {"losses", "metrics"},
    {"cyclegan"},
    {"training", "translate"},
    {"train", "demo", "__main__"},
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


def loaded_by(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return set(out.stdout.split())


def test_config_and_help_do_not_import_torch() -> None:
    code = """
import contextlib, io
from cyclestyle.train import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
"""
    assert not {"torch", "numpy", "albumentations"} & loaded_by(code)


def test_translation_imports_no_training_libraries() -> None:
    code = "import cyclestyle.translate.translator, cyclestyle.translate.sources, cyclestyle.translate.__main__"
    loaded = loaded_by(code)
    assert "torch" in loaded
    assert not {"albumentations", "cv2", "scipy", "tensorboard", "cyclestyle.training"} & loaded
