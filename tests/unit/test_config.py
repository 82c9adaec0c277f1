"""Configurations: what is accepted, and the line that each mistake gets."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from cyclestyle.config import ConfigError, LossConfig, PixelOptions, Weight, check_config, list_options, load_config
from cyclestyle.losses import ADVERSARIAL, TERMS
from cyclestyle.losses.steepness import NOISES
from cyclestyle.nets import DISCRIMINATORS
from cyclestyle.strict_yaml import dump_yaml

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_are_valid_and_short(path: Path) -> None:
    load_config(path)
    assert 10 <= len(path.read_text().splitlines()) <= 40


def test_defaults_are_those_of_the_paper() -> None:
    config = load_config(None)
    assert (config.loss.cycle.ab, config.loss.identity.ba, config.loss.adversarial) == (10, 5, "lsgan")
    assert (config.train.lr, config.train.beta1, config.train.beta2) == (2e-4, 0.5, 0.999)
    assert (config.train.n_epochs, config.train.n_epochs_decay, config.train.pool_size) == (100, 100, 50)
    assert (config.data.load_size, config.data.crop_size, config.train.batch_size) == (286, 256, 1)
    assert (config.model.generator.blocks, config.model.generator.upsample) == (9, "transpose")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:\n  crop_sise: 3", ":2: data.crop_sise: unknown key; did you mean 'crop_size'?"),
        ("trian: {}", ":1: trian: unknown key; did you mean 'train'?"),
        ("train:\n  crop_size: 8", ":2: train.crop_size: unknown key; did you mean data.crop_size?"),
        ("train:\n  n_epochs: ten", ":2: train.n_epochs: must be a whole number, not 'ten'"),
        ("train:\n\n  lr: fast", ":3: train.lr: must be a valid number, not 'fast'"),
        (
            "train:\n  n_epochs: -1",
            ":2: train.n_epochs: must be greater than or equal to 0, not -1; nearest accepted: 0",
        ),
        ("train: {precision: bf61}", ":1: train.precision: 'bf61' is not a choice; did you mean 'bf16'?"),
        ("model:\n  discriminator: pxel", ":2: model.discriminator: 'pxel' is not a choice; did you mean 'pixel'?"),
        ("model:\n  discriminator: {name: pixel, layers: 3}", ":2: model.discriminator.layers: unknown key"),
        ("model:\n  generator:\n    bloks: 6", ":3: model.generator.bloks: unknown key; did you mean 'blocks'?"),
        ("loss:\n  cycle: {ab: 1}", ":2: loss.cycle.ba: is missing here"),
        ("seed: true", ":1: seed: must be a whole number, not True"),
        ("seed: 1\nseed: 2", ":2: seed: stands twice, first on line 1"),
        ("data: [", "not valid YAML"),
        ("data:\n\tseed: 1", "cannot start any token; indent with spaces, not tabs"),
        ("data:\n  root: x\n   names: [a, b]", ":3: not valid YAML: mapping values are not allowed here; keys of one"),
        ("data:\n    root: x\n  names: [a, b]", "; keys of one section need the same indentation"),
        ("data:\n  root:x\n  names: [a, b]", "a space behind each colon"),
        ("- 1", "a configuration holds sections"),
        ("data:\n  names: [ink, ink]", ":2: data.names: must be two different names"),
        ("data:\n  crop_size: 300", ":2: data.crop_size: 300 is larger than load_size 286: lower it to 284"),
        ("data:\n  crop_size: 30", ":2: data.crop_size: must be a multiple of 4, not 30"),
        ("data:\n  load_size: 100", "data.crop_size: 256 is larger than load_size 100"),
        ("data:\n  names: [ink]", ":2: data.names: must hold 2 words, not ['ink']"),
        ("data:\n  augment: [3]", ":2: data.augment.0: must be a valid dictionary, not 3"),
        ("data:\n  prepare: {A: [grey]}", ":2: data.prepare.A: must be a section with keys, not ['grey']"),
        ("data: {prepare: {A: {autocontrst: 2}}}", ":1: data.prepare.A.autocontrst: unknown key; did you mean"),
        ("loss:\n  cycle: ten", ":2: loss.cycle: must be a number or {ab: ..., ba: ...}, not 'ten'"),
        ("loss:\n  cycle: -1", ":2: loss.cycle: must be at least 0, not -1"),
        ("seed: 99999999999999999999999", ":1: seed: must be less than 9223372036854775808"),
        ("1: 2", ":1: 1: a key must be a word, not 1"),
        ("seed: \x07", "not valid YAML: special characters are not allowed"),
        ("seed: &x {a: *x}", "an alias that contains itself"),
        ("seed: !!bool maybe", ":1: seed: 'maybe' is no tag:yaml.org,2002:bool"),
        ("train: {n_epochs: 0, n_epochs_decay: 0}", "nothing to train"),
        ("train: {decay_steps: 5}", ":1: train.decay_steps: 5 needs a max_steps"),
        ("train: {max_steps: x, decay_steps: 5}", ":1: train.max_steps: must be a whole number, not 'x'"),
        ("train: 3", ":1: train: must be a section with keys, not 3"),
        ("train: {lr: .inf}", ":1: train.lr: must be a valid number, not '.inf'"),
    ],
)
def test_each_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_every_mistake_of_a_file_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: x\ntrain:\n  lr: y\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["seed", "train.lr"]


def test_numbers_and_words_are_read_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 010\ntrain: {lr: 2e-4}\ndata: {names: [no, on]}\nmodel: {discriminator: pixel}\n")
    config = load_config(path)
    assert (config.seed, config.train.lr, config.data.names) == (10, 2e-4, ["no", "on"])
    assert config.model.discriminator.name == "pixel"


def test_a_step_may_be_a_name_alone_and_the_default_reads_back() -> None:
    assert load_config(None, ["data.augment=[Transpose]"]).data.augment.B == [{"Transpose": {}}]
    [default] = [default for name, default, _ in list_options() if name == "data.augment"]
    assert load_config(None, [f"data.augment={default}"]) == load_config(None)


def test_a_key_is_not_suggested_for_itself() -> None:
    with pytest.raises(ConfigError, match=r"model.discriminator.layers: unknown key; accepted: name, channels, norm"):
        load_config(None, ["model.discriminator=pixel", "model.discriminator.layers=2"])


def test_a_name_alone_keeps_the_options_that_a_file_gives_that_network(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model:\n  generator: {channels: 8}\n  discriminator: {name: patchgan, layers: 2}\n")
    same = load_config(path, ["model.generator=resnet", "model.discriminator=patchgan"])
    assert same == load_config(path)
    assert load_config(path, ["model.discriminator=pixel"]).model.discriminator == PixelOptions()


def test_overrides_win_and_are_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("train: {lr: 1e-3, max_steps: 7}\nmodel: {discriminator: pixel}\n")
    config = load_config(
        path, ["train.lr=3e-4", "model.discriminator.channels=8", "data.names=[ink, photo]", "loss.cycle=2"]
    )
    assert (config.train.lr, config.model.discriminator.channels, config.loss.cycle.ba) == (3e-4, 8, 2)
    for override, expected in [
        ("train.lr=fast", "command line: train.lr: must be"),
        ("train.lr", "is not section.key=value"),
        ("train.lr.x=3", "train.lr is 0.001 in the file"),
        ("data.crop_size=300", "command line: data.crop_size: 300 is larger"),
        ("data.names=[", "command line: data.names: not valid YAML"),
        ("data.names=[ink,", "; put quotes around the whole option"),
        ("trian.lr=3", "command line: trian: unknown key; did you mean 'train'?"),
        ("train.n_epochs=9", "command line: train.n_epochs: does nothing, as train.max_steps=7 sets the length"),
    ]:
        with pytest.raises(ConfigError, match="command line") as caught:
            load_config(path, [override])
        assert expected in str(caught.value)


def test_a_resolved_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    words = ["08", "1e3", "no", "null", "~", "true", "2026-11-21", "a: b", "# c", "", "0x1f", "1:30", "'q'", "墨"]
    path = tmp_path / "c.yaml"
    for word in words:
        values = {"train": {"lr": 1e-05}, "data": {"root": word, "names": [word, "x"]}, "loss": {"identity": 1}}
        config = check_config(values)
        path.write_text(dump_yaml(config.model_dump()))
        assert load_config(path) == config
        assert yaml.safe_load(path.read_text())["data"]["root"] == word
    assert check_config(config.model_dump()) == config


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_config("nowhere.yaml")


def test_choices_of_components_are_those_of_the_tables() -> None:
    rows = {name: meaning for name, _, meaning in list_options()}
    assert f"({'|'.join(DISCRIMINATORS)})" in rows["model.discriminator.name"]
    assert set(get_args(LossConfig.model_fields["adversarial"].annotation)) == ADVERSARIAL.keys()
    assert {n for n, f in LossConfig.model_fields.items() if isinstance(f.default, Weight)} == {*TERMS, *NOISES}


def test_every_option_has_a_meaning() -> None:
    assert all(meaning for _, _, meaning in list_options())
    assert {"data.root", "model.generator.blocks", "loss.cycle", "train.n_epochs_decay", "seed"} <= {
        n for n, _, _ in list_options()
    }
