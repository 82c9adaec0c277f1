"""Everything that changes while training, with one state_dict: what is in it is what a resumed run goes on from."""

import time
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cyclestyle.config import Config, TrainConfig
from cyclestyle.cyclegan import CycleGAN
from cyclestyle.data.unpaired import retry_key
from cyclestyle.training.detectors import Watch
from cyclestyle.training.ema import update_average
from cyclestyle.training.pool import ImagePool


class TrainState:
    """Networks, optimisers, pools, moving average, and how far the run has come.

    Attributes:
        step: training steps done.
        samples: training samples used, of each domain.
        seconds: spent training, over all sittings.
        retries: how often the run went back as it had diverged; each halves the rate and changes what is random.
        best: the best measurement so far, `by` what, its `value`, `draws` and `step`, how many came after it (`since`),
            the `last` value, and the step of the generators that are `kept` as the best.
        watch: the faults that have been told.
        pictures: `UnpairedData.fingerprint()` of what it is trained on, to be set.
        sums: of every logged value since the last entry, over `summed` steps that took `summed_seconds`.
    """

    def __init__(self, config: Config, device: torch.device, dtype: torch.dtype) -> None:
        torch.manual_seed(config.seed)
        train = config.train
        self.model = CycleGAN(config.model).to(device)
        if dtype != torch.float32:  # convolutions are faster that way
            self.model.to(memory_format=torch.channels_last)
        self.generators, self.discriminators = self.model.generators, self.model.discriminators
        self.average = deepcopy(self.generators).requires_grad_(False) if train.ema > 0 else None
        self.optim_g, self.optim_d = (_adam(nets, train) for nets in (self.generators, self.discriminators))
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.pools = {name: ImagePool(train.pool_size, resized=True) for name in ("disc_a", "disc_b")}
        if train.replay:  # enlarged ones would have discriminators take large pixels for real
            self.pools |= {name: ImagePool(train.pool_size) for name in ("real_a", "real_b")}
        self.step, self.samples, self.seconds = 0, 0, 0.0
        self.retries = 0
        self.best: dict[str, Any] = {}
        self.watch = Watch(config.data.names, config.loss.adversarial)
        self.pictures = ""
        self.sums: dict[str, Tensor] = {}
        self.summed = 0
        self.summed_seconds = 0.0
        self._began, self._rate = 0.0, train.lr
        if device.type == "cuda":
            self._done = torch.cuda.Event()
        self._config, self._device = config, device

    @property
    def best_generators(self) -> torch.nn.ModuleDict:
        """The generators to translate with: the moving average if there is one."""
        return self.generators if self.average is None else self.average

    @property
    def replay(self) -> int:
        """Earlier pictures that discriminators see beside the new ones."""
        return self._config.train.replay

    @property
    def batch_size(self) -> int:
        """Pictures of each domain in a step."""
        return self._config.train.batch_size

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self._rate

    def begin_step(self, factor: float) -> None:
        """Set both learning rates to a share of `train.lr`, and start the clock of the step."""
        self._began = time.perf_counter()
        self._rate = self._config.train.lr * factor * 0.5**self.retries
        for optimiser in (self.optim_g, self.optim_d):
            [group] = optimiser.param_groups
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self._rate)
            else:
                group["lr"] = self._rate

    def update(self, optimiser: torch.optim.Optimizer, losses: dict[str, Tensor]) -> None:
        """One step of an optimiser down the sum of the losses."""
        optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(torch.stack(list(losses.values())).sum()).backward()
        self.scaler.step(optimiser)

    def finish_step(self, values: dict[str, Tensor]) -> None:
        """Count one step of `train.batch_size` samples: moving average, sums for the log."""
        if self.average is not None:
            update_average(self.average, self.generators, self._config.train.ema, self.step)
        for name, value in values.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        if self._device.type == "cuda":  # one step ahead of the GPU at most, so that the clock tells its pace
            self._done.synchronize()
            self._done.record()
        took = time.perf_counter() - self._began
        self.seconds += took
        self.summed_seconds += took
        self.summed += 1
        self.step += 1
        self.samples += self.batch_size

    def means(self) -> dict[str, float]:
        """Means of the values of `finish_step` since the last `take_means`."""
        return {name: float(total) / self.summed for name, total in self.sums.items()}

    def take_means(self) -> tuple[dict[str, float], int, float]:
        """Means of the values of `finish_step` since the last call; over how many steps; seconds that these took."""
        means = self.means()
        steps, seconds = self.summed, self.summed_seconds
        self.sums, self.summed, self.summed_seconds = {}, 0, 0.0
        return means, steps, seconds

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(p.isfinite().all()) for p in self.model.parameters())

    def state_dict(self) -> dict[str, Any]:
        best = self.best_generators
        return {
            "step": self.step,
            "samples": self.samples,
            "seconds": self.seconds,
            "pictures": self.pictures,
            "model": self.model.state_dict(),
            "generators": {name: best[name].state_dict() for name in ("gen_ab", "gen_ba")},
            "averaged": self.average is not None,
            "optim_g": self.optim_g.state_dict(),
            "optim_d": self.optim_d.state_dict(),
            "scaler": self.scaler.state_dict(),
            "pools": {name: pool.state_dict() for name, pool in self.pools.items()},
            "sums": self.sums,
            "summed": self.summed,
            "summed_seconds": self.summed_seconds,
            "retries": self.retries,
            "best": self.best,
            "watch": self.watch.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`. A moving average that is new to the run starts at the current weights."""
        self.step, self.samples, self.seconds = state["step"], state["samples"], state["seconds"]
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            for name, net in self.average.items():
                net.load_state_dict(state["generators"][name])
        for name, optimiser in (("optim_g", self.optim_g), ("optim_d", self.optim_d)):
            own = {key: value for key, value in optimiser.param_groups[0].items() if key != "params"}
            groups = [{**group, **own} for group in state[name]["param_groups"]]
            optimiser.load_state_dict({**state[name], "param_groups": groups})
            for weight, moments in optimiser.state.items():  # laid out as the weights of now, as fused Adam expects
                for key in ("exp_avg", "exp_avg_sq"):
                    moments[key] = torch.empty_like(weight).copy_(moments[key])
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        for name, pool in self.pools.items():
            images = state["pools"].get(name, {"images": []})
            pool.load_state_dict(images, self._device)
        self.sums = {name: value.to(self._device) for name, value in state["sums"].items()}
        self.summed, self.summed_seconds = state["summed"], state["summed_seconds"]
        self.retries, self.best = state.get("retries", 0), dict(state.get("best", {}))
        self.watch.load_state_dict(state.get("watch", {}))

    def random(self, *key: int) -> np.random.Generator:
        """Random numbers that follow from the seed and the running sample number, so that none need be stored."""
        return np.random.default_rng([self._config.seed, self.samples, *key, *retry_key(self.retries)])


def _adam(nets: torch.nn.ModuleDict, train: TrainConfig) -> torch.optim.Adam:
    weights = list(nets.parameters())
    on_gpu = weights[0].is_cuda
    return torch.optim.Adam(
        weights,
        lr=torch.tensor(train.lr, device=weights[0].device) if on_gpu else train.lr,
        betas=(train.beta1, train.beta2),
        fused=True,
        capturable=on_gpu,  # what the step of a CUDA graph asks for, and a rate that is a tensor
    )
