"""Checkpoints: everything that a training needs to go on bit for bit, in safetensors and JSON, never a pickle.

A checkpoint is a folder. It is written under a temporary name, synced to disk, then renamed: a folder with
the final name is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..durable import sync
from ..errors import DiskError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TENSORS, _SCALARS = "trainer_state.safetensors", "trainer_state.json"


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `folder` only when the block ends well. Raises DiskError."""
    # The process id keeps apart a writer whose parent was just killed and the one that redoes its work.
    temporary = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    try:
        temporary.mkdir(parents=True, mode=0o700)
        yield temporary
        for file in [*temporary.iterdir(), temporary]:
            sync(file)
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that died between rename and commit
        temporary.rename(folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:
        raise DiskError(
            f"{folder}: the checkpoint can't be written: {error}",
            "What was finished is safe. Make room, then: llm2llm resume",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_adapter(model: Any, folder: Path) -> None:
    """Write a PEFT model's adapter in PEFT's own format.

    The JSON is rewritten in a fixed order (PEFT writes sets in hash order), so equal adapters have equal bytes.
    """
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # an empty model card
    config_file = folder / "adapter_config.json"
    config = {
        key: sorted(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value
        for key, value in json.loads(config_file.read_text()).items()
    }
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_state(folder: Path, optimizer: torch.optim.Optimizer, scalars: dict[str, Any]) -> None:
    """Write the optimizer's state, all random states, and `scalars` (JSON values)."""
    # Not from its state_dict: bitsandbytes hides tensors from others in there, in a dictionary within each entry.
    tensors, plain = {}, {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                # A copy even on a CPU: some are shared between parameters, which safetensors refuses.
                tensors[f"optimizer.{index}.{name}"] = value.detach().contiguous().to("cpu", copy=True)
            else:
                plain[f"{index}.{name}"] = value
    tensors |= {f"rng.{name}": state for name, state in random_states(parameters[0].device.type).items()}
    save_file(tensors, folder / _TENSORS)
    (folder / _SCALARS).write_text(json.dumps({**scalars, "optimizer": plain}, sort_keys=True))


def load_state(folder: Path, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what `save_state` wrote; its scalars."""
    tensors = load_file(folder / _TENSORS)
    scalars: dict[str, Any] = json.loads((folder / _SCALARS).read_text())
    entries: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, name = rest.partition(".")
            entries.setdefault(int(index), {})[name] = tensor
    for key, value in scalars.pop("optimizer").items():
        index, _, name = key.partition(".")
        entries.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
    set_random_states({key.removeprefix("rng."): state for key, state in tensors.items() if key.startswith("rng.")})
    return scalars


def random_states(device: str) -> dict[str, torch.Tensor]:
    """The states of the random generators that a training on `device` draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: dict[str, torch.Tensor]) -> None:
    """Restore what `random_states` returned."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
