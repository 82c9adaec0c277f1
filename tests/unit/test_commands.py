"""What commands do with mistakes, and the list of sub-commands."""

from pathlib import Path

import pytest

from cyclestyle import train
from cyclestyle.__main__ import COMMANDS, main
from cyclestyle.commands import run_command


def test_a_file_that_fails_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(argv: list[str] | None) -> int:
        raise OSError(28, "No space left on device", "/x/y")

    assert run_command(fail, None) == 1
    assert capsys.readouterr().err == "error: /x/y: No space left on device\n"


def test_a_missing_package_is_one_line_that_names_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    def lacks(argv: list[str] | None) -> int:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    assert run_command(lacks, None) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: the package torch is not installed for")
    assert "source .venv/bin/activate" in err


def test_an_interrupt_is_status_130() -> None:
    def stop(argv: list[str] | None) -> int:
        raise KeyboardInterrupt

    assert run_command(stop, None) == 130


def test_sub_commands_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
    assert main(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err
    assert main([]) == 2
    assert main(["--version"]) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_sub_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_one_argument_too_many_is_called_that(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["a", "b"], ["a", " "]):
        with pytest.raises(SystemExit):
            main(["synthetic", *words])
        assert "one argument too many: '" in capsys.readouterr().err


def test_a_command_is_called_what_the_user_called_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for program, usage in (
        ("/somewhere/bin/cyclestyle", "usage: cyclestyle train "),
        ("/somewhere/cyclestyle/__main__.py", "usage: cyclestyle train "),
        ("x.py", "usage: train.py "),
    ):
        monkeypatch.setattr("sys.argv", [program])
        with pytest.raises(SystemExit):
            train.main(["--help"])
        assert capsys.readouterr().out.startswith(usage)


def test_help_lists_every_option_with_default_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["--help"])
    printed = capsys.readouterr().out
    assert "train.lr=0.0002\n      learning rate of Adam" in printed
    assert "loss.cycle=10" in printed


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        ([], 2, "--config FILE is needed"),
        (["configs/my.yaml"], 2, "--config FILE is needed, such as --config configs/my.yaml"),
        (["--resume"], 2, "--resume needs --run-dir DIR or --config FILE"),
        (["--resume", "--run-dir", "nowhere"], 1, "nowhere: holds no run to resume"),
        (["--config", "nowhere.yaml"], 1, "nowhere.yaml: cannot be read"),
        (["--config", "c.yaml"], 1, "data.root: is not set; put pictures into FOLDER/trainA"),
        (["--config", "c.yaml", "data.root=gone"], 1, "data.root: there is no folder 'gone'"),
        (["--config", "c.yaml", "train.lr=x"], 1, "command line: train.lr: must be a valid number, not 'x'"),
        (["--config", "c.yaml", "--device", "tpu"], 2, "invalid choice: 'tpu'"),
        (["--confg", "c.yaml"], 2, "unknown option --confg; did you mean '--config'?"),
        (["--max-steps=20"], 2, "options of a configuration have no dashes: train.max_steps=20"),
        (["--n-epoch", "3"], 2, "options of a configuration have no dashes: train.n_epochs=VALUE"),
        (["--config", "c.yaml", "train.decay_steps=4", "train.max_steps=2"], 1, "set train.decay_steps=1 too"),
        (["--config", "c.yaml", "train.decay_steps=4"], 1, "not None; set train.max_steps too"),
    ],
)
def test_mistakes_in_the_training_command(
    tmp_path: Path, words: list[str], status: int, expected: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("seed: 1\n")
    try:
        got = train.main(words)
    except SystemExit as error:
        got = int(error.code or 0)
    assert got == status
    assert expected in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]
