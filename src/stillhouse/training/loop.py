"""The loop: batches, gradients, steps, checkpoints. Does not know its objective, its model or where data come from.

On one machine with one number of threads a run is a function of its parts: killed anywhere and run again, it goes on
from the last checkpoint and ends with the same weights, bit for bit. Several processes (``distributed``) take the
same steps as one: each works on its share of a step, and gradients, losses and parts are sums over all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillhouse.errors import RecipeError
from stillhouse.training.checkpoint import Checkpoint, Checkpoints
from stillhouse.training.data import Batch, Batches
from stillhouse.training.distributed import ALONE, Group
from stillhouse.training.metrics import Meter, NotFinite, StepValues
from stillhouse.training.objectives.base import Objective, Outputs, owned_modules

_MAX_NAMED = 8
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class Run:
    """The parts of a training. ``schedule`` maps a step (counted from 0) to its learning rate.

    ``seed`` counts only where a ``group`` of several processes trains; only its first process has ``checkpoints``.
    """

    trained: nn.Module
    batches: Batches
    forward: Callable[[Batch], Outputs]
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]
    meter: Meter
    steps: int
    max_grad_norm: float
    checkpoint_every: int
    checkpoints: Checkpoints | None = None
    group: Group = ALONE
    seed: int = 0

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name; tied weights once. The objective's own come last, below ``objective``."""
        named = {name: parameter for name, parameter in self.trained.named_parameters() if parameter.requires_grad}
        mine = {id(parameter) for parameter in self.trained.parameters()}
        for attribute, module in owned_modules(self.objective).items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad and id(parameter) not in mine:
                    named[f"objective.{attribute}.{name}"] = parameter
        return named


@dataclass(frozen=True)
class TrainResult:
    """``seconds`` covers all attempts, ``tokens`` counts supervised ones, ``resumed_from`` is 0 for a fresh start."""

    history: list[dict[str, float]]
    steps: int
    tokens: int
    final_loss: float
    seconds: float
    resumed_from: int


def train(run: Run) -> TrainResult:
    """Train ``run.trained`` in place until ``run.steps`` steps are done.

    Raises:
        RecipeError: a loss or gradient is no number (it names the traces; the last good checkpoint is kept), or the
            checkpoints belong to another training.
        TransientError: a checkpoint cannot be written, or another process of the group ended.
    """
    start, spent_s = _resume(run)
    _same_everywhere(run)
    clock = time.monotonic() - spent_s
    parameters = list(run.parameters().values())
    device = parameters[0].device
    try:
        for step in range(start, run.steps):
            run.meter.add(step, _step(run, step, parameters, device))
            done = step + 1
            if run.checkpoints and (done % run.checkpoint_every == 0 or done == run.steps):
                _save(run, run.checkpoints, done, time.monotonic() - clock)
    except NotFinite as error:
        raise _explain(run, error) from error
    history = run.meter.history
    seconds = time.monotonic() - clock
    return TrainResult(history, run.steps, run.meter.tokens, history[-1]["loss"], seconds, start)


def _step(run: Run, step: int, parameters: list[nn.Parameter], device: torch.device) -> StepValues:
    rate = run.schedule(step)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    losses: list[Tensor] = []
    parts: list[dict[str, Tensor]] = []
    run.group.seed(run.seed, step)
    for batch in run.batches.step(step):
        on_device = batch.to(device)
        report = run.objective.loss(on_device, run.forward(on_device))
        report.total.backward()  # type: ignore[no-untyped-call]
        losses.append(report.total.detach())
        parts.append({**report.parts, **report.metrics})
    if not run.group.is_alone:
        losses, parts = _sum(run.group, parameters, losses, parts)
    norm = torch.nn.utils.clip_grad_norm_(parameters, run.max_grad_norm)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return StepValues(losses, norm, rate, run.batches.tokens(step), parts)


def _sum(
    group: Group, parameters: list[nn.Parameter], losses: list[Tensor], parts: list[dict[str, Tensor]]
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Sum the gradients over all processes; the loss of each process and the sums of the parts, the same for all.

    A parameter gets a gradient where any process has one: one that nobody used stays without, as alone.
    """
    used = group.anywhere([parameter.grad is not None for parameter in parameters])
    for parameter, is_used in zip(parameters, used, strict=True):
        if is_used and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    names = list(parts[0])
    share = torch.stack(losses).sum().float()
    row = torch.zeros(group.size + len(names), device=share.device)
    row[group.rank] = share
    for place, name in enumerate(names, start=group.size):
        row[place] = torch.stack([part[name].detach().float() for part in parts]).sum()
    group.sum([*(parameter.grad for parameter in parameters if parameter.grad is not None), row])
    values = list(row.unbind())
    return values[: group.size], [dict(zip(names, values[group.size :], strict=True))]


def _resume(run: Run) -> tuple[int, float]:
    """Put the last checkpoint into ``run``; how many steps are done, and the seconds they took."""
    found = run.checkpoints.latest() if run.checkpoints else None
    if found:
        _restore(run, found)
    told = (found.step, found.state["seconds"], found.state["meter"], list(found.optimizer)) if found else None
    told = run.group.agree(told)
    if told is None:
        return 0, 0.0
    step, seconds, meter, moments = told
    run.meter.restore(meter)
    for name, parameter in run.parameters().items():
        for key in _MOMENTS:
            if f"{name}/{key}" in moments and not run.group.is_main:
                like = torch.zeros((), device=parameter.device) if key == "step" else torch.zeros_like(parameter)
                run.optimizer.state[parameter][key] = like
    run.group.share(_moments(run).values())
    if run.meter.listener:
        run.meter.listener.say(f"{run.meter.name} continues after step {step} of {run.steps}".strip())
    return step, float(seconds)


def _restore(run: Run, found: Checkpoint) -> None:
    with torch.no_grad():
        for name, parameter in run.parameters().items():
            parameter.copy_(found.model[name])
            for key in _MOMENTS:
                if f"{name}/{key}" in found.optimizer:
                    # Cloned, because tensors read from a file need not be aligned as fresh ones are.
                    read = found.optimizer[f"{name}/{key}"].clone().to(parameter.device)
                    run.optimizer.state[parameter][key] = read
    _set_random_states(found.state["random"])


def _same_everywhere(run: Run) -> None:
    """All processes start from the weights of the first; so do the modules that the objective owns."""
    with torch.no_grad():
        run.group.share(parameter.data for parameter in run.parameters().values())
        for module in owned_modules(run.objective).values():
            run.group.share(module.buffers())
            run.group.share(parameter.data for parameter in module.parameters() if not parameter.requires_grad)


def _moments(run: Run) -> dict[str, Tensor]:
    """The optimizer's tensors by parameter and moment. A parameter that never had a gradient has none."""
    return {
        f"{name}/{key}": run.optimizer.state[parameter][key]
        for name, parameter in run.parameters().items()
        for key in _MOMENTS
        if key in run.optimizer.state[parameter]
    }


def _save(run: Run, checkpoints: Checkpoints, step: int, seconds: float) -> None:
    state = {"meter": run.meter.state(), "seconds": round(seconds, 3), "random": _random_states()}
    checkpoints.save(Checkpoint(step, run.parameters(), _moments(run), state))


def _random_states() -> dict[str, list[str] | str]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": _hex(torch.get_rng_state()), "cuda": [_hex(state) for state in cuda]}


def _set_random_states(states: dict[str, list[str] | str]) -> None:
    torch.set_rng_state(_unhex(str(states["cpu"])))
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([_unhex(state) for state in states["cuda"]])


def _hex(state: Tensor) -> str:
    return bytes(state.tolist()).hex()


def _unhex(text: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)


def _explain(run: Run, error: NotFinite) -> RecipeError:
    if run.group.is_alone:
        batches = run.batches.step(error.step)
        chosen = batches if error.micro is None else [batches[error.micro]]
    else:  # the losses are told apart by process
        ranks = range(run.group.size) if error.micro is None else [error.micro]
        chosen = [batch for rank in ranks for batch in run.batches.step(error.step, rank)]
    keys = [key for batch in chosen for key in batch.keys]
    named = ", ".join(keys[:_MAX_NAMED]) + (f" and {len(keys) - _MAX_NAMED} more" if len(keys) > _MAX_NAMED else "")
    saved = run.checkpoints.steps() if run.checkpoints else []
    kept = f"; {run.checkpoints.path(saved[-1])} is the last good checkpoint" if run.checkpoints and saved else ""
    return RecipeError(
        f"train: {error.name} of step {error.step + 1} is not a finite number, on the traces {named}; lower "
        f"train.learning_rate, or look at these traces{kept}"
    )
