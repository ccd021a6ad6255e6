"""Weights and learning curve of a run, in a file that counts for this very run alone."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exact_cntk._support.atomic import replacing
from exact_cntk.finite._torch import torch
from exact_cntk.finite.networks import CNN


class Checkpoint:
    """A file that is replaced as a whole, so that a kill at any moment leaves the old one or the new one.

    Parameters
    ----------
    file : Path
    network : CNN
        Its present weights are the initial ones of the run.
    data : sequence of Tensors
        All that training and rows see.
    options : tuple
        All else that the numbers of the run depend on. torch's version and the device belong to a run as well, and of a
        CPU the number of threads.
    """

    def __init__(self, file: Path, network: CNN, data: Sequence[torch.Tensor], options: tuple) -> None:
        """Take the initial weights as the run's."""
        self._file = file
        identity = hashlib.sha256(repr((torch.__version__, options)).encode())
        architecture = (network.family, network.output_scale, _device_name(network))
        identity.update(repr(architecture).encode())
        for name, weight in network.named_parameters():
            identity.update(f"{name} {weight.requires_grad} {weight.dtype} {tuple(weight.shape)}".encode())
            identity.update(_bytes(weight))
        for part in data:
            identity.update(repr(tuple(part.shape)).encode())
            identity.update(_bytes(part))
        self._identity = identity.hexdigest()

    def restore(self, network: CNN, last: int) -> tuple[int, list[list[float]]]:
        """Set the network's weights to those of the file.

        Returns
        -------
        (int, list)
            Step and rows; (0, []), and the weights left alone, if there is no file of this run, or it is beyond `last`.
        """
        names = [name for name, _ in network.named_parameters()]
        try:
            with np.load(self._file, allow_pickle=False) as saved:
                if str(saved["identity"]) != self._identity or int(saved["step"]) > last:
                    return 0, []
                step, rows = int(saved["step"]), saved["rows"].tolist()
                weights = [saved[f"weights.{name}"] for name in names]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):  # missing, or not of ours
            return 0, []
        with torch.no_grad():
            for weight, values in zip(network.parameters(), weights, strict=True):
                weight.copy_(torch.from_numpy(values))
        return step, rows

    def save(self, network: CNN, step: int, rows: Sequence[Sequence[float]]) -> None:
        """Replace the file.

        Raises
        ------
        UserError
            It cannot be written.
        """
        contents: dict[str, Any] = {"identity": self._identity, "step": step, "rows": np.array(rows, dtype=np.float64)}
        contents |= {f"weights.{name}": weight.detach().cpu().numpy() for name, weight in network.named_parameters()}
        with replacing(self._file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **contents)


def _device_name(network: CNN) -> str:
    """What computes: of GPUs the model, of a CPU its threads; another one rounds otherwise."""
    device = network.readout_weight.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device}, {torch.get_num_threads()} threads"


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
