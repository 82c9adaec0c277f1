"""Every option of a training run: typed, documented, with the defaults of the CycleGAN paper (arXiv:1703.10593)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from cyclestyle.config_errors import Places, describe_error
from cyclestyle.errors import UserError
from cyclestyle.strict_yaml import parse_yaml, read_yaml

Step = dict[str, dict[str, Any]]
CROP_AND_FLIP: list[Step] = [
    {"RandomCrop": {"height": "crop_size", "width": "crop_size"}},
    {"HorizontalFlip": {"p": 0.5}},
]


class ConfigError(UserError):
    """One line for each mistake in a configuration."""


class Section(BaseModel):
    """A group of options; unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Preparation(Section):
    """What is done to every picture of a domain, in training and before translation alike."""

    autocontrast: float | None = Field(
        None, ge=0, lt=50, description="stretch each channel to black and white, this percentage cut off at either end"
    )


class Prepare(Section):
    """The preparation of each domain; it belongs to the model."""

    A: Preparation = Field(Preparation(), description="of domain A")
    B: Preparation = Field(Preparation(), description="of domain B")


class Augment(Section):
    """An albumentations pipeline for each domain."""

    A: list[Step] = Field(CROP_AND_FLIP, description="pipeline of domain A")
    B: list[Step] = Field(CROP_AND_FLIP, description="pipeline of domain B")

    @model_validator(mode="before")
    @classmethod
    def _one_list_for_both(cls, value: Any) -> Any:
        return {"A": value, "B": value} if isinstance(value, list) else value

    @field_validator("A", "B", mode="before")
    @classmethod
    def _name_alone(cls, steps: Any) -> Any:
        return [{step: {}} if isinstance(step, str) else step for step in steps] if isinstance(steps, list) else steps


class DataConfig(Section):
    root: str | None = Field(None, description="folder that holds trainA, trainB, testA, testB (and valA, valB)")
    names: list[str] = Field(["A", "B"], min_length=2, max_length=2, description="what domains A and B are called")
    load_size: int = Field(286, ge=8, description="pictures are resized to this short side before augmentation")
    resize: Literal["short", "square", "none"] = Field(
        "short", description="short keeps the aspect ratio, square squashes, none leaves pictures as they are"
    )
    crop_size: int = Field(
        256, ge=8, multiple_of=4, validate_default=True, description="side of the square that the networks see"
    )
    prepare: Prepare = Prepare()
    augment: Augment = Field(
        Augment(),
        description="albumentations steps, one list or {A: [...], B: [...]}; 'crop_size' stands for its value",
    )
    workers: int = Field(2, ge=0, description="threads that prepare pictures ahead; 0 prepares in the training loop")
    cache_mb: int = Field(
        4096, ge=0, description="memory for decoded pictures, in MiB; what does not fit is read again"
    )
    min_size: int = Field(32, ge=1, description="pictures with a shorter side, in pixels, are refused as tiny")
    on_bad_file: Literal["error", "skip"] = Field(
        "error", description="unreadable pictures end the start, or are left out"
    )

    @field_validator("names")
    @classmethod
    def _names_differ(cls, names: list[str]) -> list[str]:
        if names[0] == names[1]:
            raise ValueError("must be two different names")
        return names

    @field_validator("crop_size")
    @classmethod
    def _crop_fits(cls, crop_size: int, info: ValidationInfo) -> int:
        load_size = info.data.get("load_size", crop_size)
        if info.data.get("resize") != "none" and crop_size > load_size:
            raise ValueError(
                f"{crop_size} is larger than load_size {load_size}: lower it to {load_size // 4 * 4} or raise load_size"
            )
        return crop_size


class ResnetOptions(Section):
    name: Literal["resnet"] = Field("resnet", description="ResNet generator of Johnson et al. (arXiv:1603.08155)")
    channels: int = Field(64, ge=1, description="channels of the first layer")
    blocks: int = Field(9, ge=1, le=64, description="residual blocks; the paper takes 6 at 128 pixels, 9 from 256 on")
    upsample: Literal["transpose", "resize", "bilinear"] = Field(
        "transpose", description="transposed convolution, or nearest-neighbour or bilinear resize and a convolution"
    )
    norm: Literal["instance", "group", "none"] = Field(
        "instance", description="instance (paper), group (16 channels a group, keeps local contrast apart) or none"
    )
    skips: bool = Field(False, description="lead fine detail past the blocks; sharper, and closer to the source")
    padding: Literal["zeros", "reflect"] = Field(
        "zeros", description="of strided convolutions; zeros (paper) may give pictures a rim"
    )
    anchored: bool = Field(False, description="begin with dark as dark and bright as bright, whatever the seed")


class PatchganOptions(Section):
    name: Literal["patchgan"] = Field("patchgan", description="judges overlapping patches (arXiv:1611.07004)")
    channels: int = Field(64, ge=1, description="channels of the first layer")
    layers: int = Field(3, ge=1, le=6, description="strided layers after the first; 3 sees 70x70 pixels")
    norm: Literal["instance", "group", "none"] = Field("instance", description="normalisation between layers")
    scales: int = Field(
        1, ge=1, le=6, description="networks: each further one judges half the resolution, and so sees twice as far"
    )


class PixelOptions(Section):
    name: Literal["pixel"] = Field("pixel", description="judges each pixel by its colour")
    channels: int = Field(64, ge=1, description="channels of the first layer")
    norm: Literal["instance", "group", "none"] = Field("instance", description="normalisation between layers")


class ModelConfig(Section):
    generator: ResnetOptions = Field(ResnetOptions(), description="both generators")
    discriminator: Annotated[PatchganOptions | PixelOptions, Field(discriminator="name")] = Field(
        PatchganOptions(), description="what judges patches (arXiv:1611.07004), or single pixels by their colour"
    )

    @field_validator("generator", "discriminator", mode="before")
    @classmethod
    def _name_alone(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "name" not in value:
            return {"name": cls.model_fields[str(info.field_name)].default.name, **value}
        return value


class Weight(Section):
    """Weight of a loss term in each direction; a plain number serves both."""

    ab: float = Field(ge=0, description="weight in the direction A to B")
    ba: float = Field(ge=0, description="weight in the direction B to A")

    @model_validator(mode="before")
    @classmethod
    def _number_for_both(cls, value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if value < 0:
                raise ValueError(f"must be at least 0, not {value}; nearest accepted: 0")
            return {"ab": float(value), "ba": float(value)}
        if not isinstance(value, (dict, Weight)):
            raise ValueError(f"must be a number or {{ab: ..., ba: ...}}, not {value!r}")
        return value


class LossConfig(Section):
    adversarial: Literal["lsgan", "hinge", "vanilla"] = Field("lsgan", description="adversarial loss")
    cycle: Weight = Field(Weight(ab=10, ba=10), description="weight of L1(rec, real), or {ab: ..., ba: ...}")
    back_translation: Weight = Field(Weight(ab=0, ba=0), description="the same, but only the way back learns from it")
    identity: Weight = Field(
        Weight(ab=5, ba=5), description="weight of L1(G(y), y), which keeps the colours of paintings"
    )
    steepness: Weight = Field(
        Weight(ab=0, ba=0),
        description="weight of the gradient penalty (R1 and R2) of the discriminator, against spots of colour",
    )
    pink_steepness: Weight = Field(
        Weight(ab=0, ba=0), description="the same along noise of all sizes, which leaves fine strokes to be judged"
    )
    flat: Weight = Field(
        Weight(ab=0, ba=0), description="weight of the detail that comes up where a picture is flat, against ripples"
    )


class TrainConfig(Section):
    n_epochs: int = Field(
        100, ge=0, description="epochs at the full learning rate; one epoch is the larger domain once"
    )
    n_epochs_decay: int = Field(100, ge=0, description="epochs in which the learning rate falls linearly to 0")
    max_steps: int | None = Field(None, ge=1, description="length of the run in steps, in place of epochs")
    decay_steps: int | None = Field(
        None, ge=0, validate_default=True, description="how many of max_steps the decay takes (null: half)"
    )
    growth_steps: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="so many steps at half of crop_size first, as in [1200]; of [1200, 200] the first at a quarter"
    )
    batch_size: int = Field(1, ge=1, description="pictures of each domain in a step")
    lr: float = Field(2e-4, gt=0, description="learning rate of Adam")
    beta1: float = Field(0.5, ge=0, lt=1, description="first beta of Adam")
    beta2: float = Field(0.999, ge=0, lt=1, description="second beta of Adam")
    pool_size: int = Field(
        50, ge=0, description="translated and, for replay, real pictures kept for the discriminators (0: none)"
    )
    replay: int = Field(
        0,
        ge=0,
        description="earlier pictures, real and translated, that discriminators see in each step beside the new ones",
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay a step of the generators' moving average (0: off)")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of convolutions; auto takes the fastest that the device computes natively"
    )
    compile: bool = Field(
        False, description="compile the networks (torch.compile), which takes minutes at the start; for a GPU"
    )
    save_every_steps: int = Field(2000, ge=1, description="steps between checkpoints")
    keep_last: int = Field(2, ge=1, description="how many checkpoints are kept")
    early_stop: int | None = Field(
        None, ge=1, description="end the run after so many measurements that were no better than the best"
    )
    retries: int = Field(
        3,
        ge=0,
        description="how often a run that diverges goes back to its last checkpoint and halves the rate",
    )
    init_from: str | None = Field(None, description="start with the generators of this run folder or model file")

    @field_validator("replay")
    @classmethod
    def _replay_has_a_pool(cls, replay: int, info: ValidationInfo) -> int:
        if replay and info.data.get("pool_size") == 0:
            raise ValueError(f"{replay} earlier pictures are asked for and none are kept; set train.pool_size=50 too")
        return replay

    @field_validator("decay_steps")
    @classmethod
    def _decay_fits(cls, decay_steps: int | None, info: ValidationInfo) -> int | None:
        max_steps = info.data.get("max_steps", decay_steps)  # a wrong max_steps has a line of its own
        if decay_steps is not None and (max_steps is None or decay_steps > max_steps):
            remedy = f"set train.decay_steps={max_steps // 2} too" if max_steps else "set train.max_steps too"
            raise ValueError(f"{decay_steps} needs a max_steps at least as large, not {max_steps}; {remedy}")
        return decay_steps

    @model_validator(mode="after")
    def _some_length(self) -> TrainConfig:
        if self.max_steps is None and self.n_epochs + self.n_epochs_decay == 0:
            raise ValueError("n_epochs and n_epochs_decay are both 0: nothing to train; raise one or set max_steps")
        return self


class ReportConfig(Section):
    log_every_steps: int = Field(50, ge=1, description="steps between entries; each entry is the mean since the last")
    sample_every_steps: int = Field(500, ge=1, description="steps between grids of translated test pictures")
    sample_count: int = Field(4, ge=1, le=64, description="test pictures a direction in a grid")
    evaluate_every_steps: int = Field(
        1000, ge=0, description="steps between measurements on val (else test) pictures (0: none)"
    )
    evaluate_count: int = Field(32, ge=4, description="pictures a domain that are measured, at most")
    best_by: Literal["score", "kid_random", "swd", "edge_f", "structure", "cycle_l1"] = Field(
        "score", description="what checkpoints/best.pt is chosen by; score is the mean excess of kid_random and swd"
    )


class Config(Section):
    """A whole training run."""

    seed: int = Field(0, ge=0, lt=2**63, description="everything random in a run follows from it")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    report: ReportConfig = ReportConfig()


def load_config(path: Path | str | None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a YAML file (None: defaults alone), apply `section.key=value` overrides, and check everything.

    Raises:
        ConfigError: one line `path:line: section.key: what is wrong` for each mistake.
    """
    values: Any = {}
    places: Places = {}
    if path is not None:
        try:
            values, lines = read_yaml(Path(path))
        except ValueError as error:
            raise ConfigError(str(error)) from None
        places = {key: f"{path}:{line}" for key, line in lines.items()}
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise ConfigError(f"{path}:1: a configuration holds sections (data, model, ...), not {values!r}")
    for override in overrides:
        key = _apply(values, override)
        places = {k: v for k, v in places.items() if k[: len(key)] != key} | {key: "command line"}
    config = check_config(values, places, str(path) if path else "command line")
    for option in ("train.n_epochs", "train.n_epochs_decay"):
        if config.train.max_steps is not None and places.get(tuple(option.split("."))) == "command line":
            raise ConfigError(
                f"command line: {option}: does nothing, as train.max_steps={config.train.max_steps} sets the length; "
                "change that, or add train.max_steps=null to count epochs"
            )
    return config


def check_config(values: dict[str, Any], places: Places | None = None, name: str = "") -> Config:
    """Turn plain values, as in a checkpoint, into a Config.

    Raises:
        ConfigError: as `load_config`; `name` stands for the place of values that `places` does not know.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        options = [option for option, _, _ in list_options()]
        lines = [describe_error(e, Config, options, places or {}, name) for e in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def list_options() -> list[tuple[str, str, str]]:
    """(name, default, meaning) of every option, in the order of the sections."""
    return _options(Config, "")


def differences(before: Config, after: Config) -> list[tuple[str, Any, Any]]:
    """(name, before, after) of every option in which two configurations differ."""
    return _differences(before.model_dump(), after.model_dump(), "")


def _differences(before: Any, after: Any, name: str) -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            difference
            for key in {**before, **after}
            for difference in _differences(before.get(key), after.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if before == after else [(name, before, after)]


def _options(section: type[BaseModel], prefix: str) -> list[tuple[str, str, str]]:
    rows = []
    for name, field in section.model_fields.items():
        default = field.default
        if isinstance(default, Weight):
            rows.append((prefix + name, f"{default.ab:g}", field.description or ""))
        elif isinstance(default, Augment):
            steps = ", ".join(f"{n}: {o}" for step in default.A for n, o in step.items())
            rows.append((prefix + name, f"[{steps}]".replace("'", ""), field.description or ""))
        elif isinstance(default, Section):
            below = _options(type(default), f"{prefix}{name}.")
            choices_of_name = [t.model_fields["name"].default for t in get_args(field.annotation)]
            if choices_of_name:
                below[0] = (*below[0][:2], f"({'|'.join(choices_of_name)}) {field.description}")
            rows += below
        else:
            accepted = get_args(field.annotation) if isinstance(default, str) else ()
            one_of = [a for a in accepted if isinstance(a, str)]
            text = "null" if default is None else str(default)
            meaning = (f"({'|'.join(one_of)}) " if len(one_of) > 1 else "") + (field.description or "")
            rows.append((prefix + name, text, meaning))
    return rows


def _apply(values: dict[str, Any], override: str) -> tuple[str, ...]:
    """Set one `section.key=value` in nested values; returns the key."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(
            f"command line: '{override}' is not section.key=value, such as train.batch_size=4, without spaces"
        )
    try:
        value, _ = parse_yaml(text, f"command line: {name}")
    except ValueError as error:
        quotes = "; put quotes around the whole option" if text.startswith(("[", "{")) else ""
        raise ConfigError(f"{error}{quotes}") from None
    key = tuple(name.split("."))
    at = values
    for depth, part in enumerate(key[:-1], start=1):
        below = at.setdefault(part, {})
        if below is None or isinstance(below, str):
            below = at[part] = {"name": below} if below else {}
        if not isinstance(below, dict):
            raise ConfigError(
                f"command line: {name}: {'.'.join(key[:depth])} is {below!r} in the file; set that as a whole"
            )
        at = below
    before = at.get(key[-1])
    if key[0] == "model" and isinstance(before, dict) and isinstance(value, str):
        network = ModelConfig.model_fields.get(key[-1])
        if network and before.get("name", network.default.name) == value:  # names what the file has options for
            return (*key, "name")
    at[key[-1]] = value
    return key
