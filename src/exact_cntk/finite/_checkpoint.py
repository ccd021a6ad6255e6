"""Weights and learning curve of a run, in a file that counts for this very run alone."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exact_cntk._support.checkpoint import Checkpoint
from exact_cntk.finite._torch import torch
from exact_cntk.finite.networks import CNN


class RunCheckpoint:
    """The checkpoint of a run from the network's present weights.

    Parameters
    ----------
    file : Path
    network : CNN
    data : sequence of Tensors
        All that training and rows depend on.
    options : tuple
        All else that the numbers of the run depend on. torch's version and the device belong to a run as well, and of a
        CPU the number of threads.
    """

    def __init__(self, file: Path, network: CNN, data: Sequence[torch.Tensor], options: tuple) -> None:
        identity = hashlib.sha256(repr((torch.__version__, options)).encode())
        architecture = (network.family, network.output_scale, _device_name(network))
        identity.update(repr(architecture).encode())
        for name, weight in network.named_parameters():
            identity.update(f"{name} {weight.requires_grad} {weight.dtype} {tuple(weight.shape)}".encode())
            identity.update(_bytes(weight))
        for part in data:
            identity.update(repr(tuple(part.shape)).encode())
            identity.update(_bytes(part))
        self._checkpoint = Checkpoint(file, identity.hexdigest())

    def restore(self, network: CNN, last: int) -> tuple[int, list[list[float]]]:
        """Set the weights to the saved ones; step and rows, or (0, []) if there are none or they are beyond `last`."""
        saved = self._checkpoint.load()
        if saved is None or saved["step"] > last:
            return 0, []
        with torch.no_grad():
            for name, weight in network.named_parameters():
                weight.copy_(torch.from_numpy(saved[f"weights.{name}"]))
        return int(saved["step"]), saved["rows"].tolist()

    def save(self, network: CNN, step: int, rows: Sequence[Sequence[float]]) -> None:
        """Replace the file; UserError if it cannot be written."""
        weights = {f"weights.{name}": weight.detach().cpu().numpy() for name, weight in network.named_parameters()}
        self._checkpoint.save(step=step, rows=np.array(rows, dtype=np.float64), **weights)


def _device_name(network: CNN) -> str:
    """What computes: of GPUs the model, of a CPU its threads; another one rounds otherwise."""
    device = network.readout_weight.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device}, {torch.get_num_threads()} threads"


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
