"""The commands of the README, run in order as a user would, with less data and fewer steps."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cyclestyle.data.synthetic import write_set
from cyclestyle.images import find_images, read_image

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
SMALL = "data.load_size=48 data.crop_size=48 model.generator.channels=4 model.generator.blocks=1 train.max_steps=4"
SMALL += " model.discriminator.channels=4 model.discriminator.scales=2 train.decay_steps=2 train.growth_steps=[1]"
SMALL += " report.sample_count=1"
DEMO = f"{SMALL} train.max_steps=6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Iterator[Path]:
    """A copy of what the commands need, with pictures where the README says that the user put them."""
    home = tmp_path_factory.mktemp("readme")
    for name in ("train.py", "configs", "Makefile", "cyclestyle"):
        (home / name).symlink_to(ROOT / name)
    write_set(home / "datasets" / "ink2photo", count=4, size=48, seed=0, test_count=5)
    shutil.copytree(drawn / "testB", home / "my_photos")
    return home


def adapted(command: str) -> list[str]:
    """The command with this Python, and small settings."""
    words = shlex.split(command)
    if words == ["make", "demo"]:
        return [sys.executable, "-m", "cyclestyle.demo", *DEMO.split()]
    if words[0] == "tensorboard":
        return [sys.executable, "-m", "tensorboard.main", "--version"]
    assert words[0] == "python", f"what is {command}?"
    words[0] = sys.executable
    if "cyclestyle.data.synthetic" in words:
        words[words.index("--count") + 1] = "4"
    if "cyclestyle.evaluate" in words:
        words += ["--rounds", "20"]
    if "--config" in words:
        words += SMALL.split()
    return words


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "make test"])
def test_a_command_of_the_readme_works(folder: Path, command: str) -> None:
    done = subprocess.run(adapted(command), cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_left_what_the_readme_promises(folder: Path) -> None:
    """Runs after the commands above."""
    for line in re.findall(r"^    runs/(\S+)", README, re.MULTILINE):
        assert (folder / "runs" / line).exists(), line
    assert len(find_images(folder / "translated")) == 3
    assert (folder / "runs" / "demo" / "sheet.png").exists()
    assert len(find_images(folder / "runs" / "demo" / "translated")) == 32


def test_the_python_of_the_readme_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs after the commands above."""
    monkeypatch.chdir(folder)
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    Image.open(folder / "my_photos" / "0000.png").save(folder / "my_photos" / "lake.jpg")
    exec(code, {})
    assert read_image(folder / "lake.png").shape == read_image(folder / "my_photos" / "lake.jpg").shape


def test_every_link_of_a_page_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("datasets/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_config_stands_in_the_table() -> None:
    named = set(re.findall(r"`(configs/\S+\.yaml)`", README))
    assert named == {p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").glob("*.yaml")}
