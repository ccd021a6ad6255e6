"""Finite CNNs trained by the paper's protocol, one file per run; `gather` puts them together.

The learning rate is chosen on validation images, the last ones of the training pool: runs of split "validation" leave
them out of training and report the accuracy on them. Runs of split "test" train on the whole pool and report the
accuracy on the test images; no run sees both.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exact_cntk._support import validation as check
from exact_cntk._support.devices import sole_device
from exact_cntk._support.progress import Progress
from exact_cntk.data import ProcessedData, load_processed
from exact_cntk.errors import InputError, UserError
from exact_cntk.networks import Family
from exact_cntk.study.documents import describe_data, pack_answers, rounded, write_result
from exact_cntk.study.sections.cnns.cost import HEAVY_OPERATIONS, epoch_operations
from exact_cntk.study.sections.cnns.plan import SPLITS

if TYPE_CHECKING:
    from exact_cntk.finite import CNN

FORMAT_VERSION = 1
DEVICES = ("auto", "cpu", "cuda")
DTYPE = "float32"
IMAGES_AT_ONCE = 256  # fixed, because the last bits of results depend on it
ARCHITECTURE = ("family", "readout", "trained", "filter_size", "depth", "width", "output_scale")
PROTOCOL = ("batch_images", "max_epochs", "averaged_epochs", "tf32")
# (images, classes) of training, and of what the accuracy is reported on.
Sets = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Run:
    """One run, without its images.

    Attributes
    ----------
    name : str
        Name of the family.
    network : Family
    depth, width, output_scale
        As `exact_cntk.finite.CNN` takes them.
    rate : float
    seed : int
        Determines the initial weights and the order of images.
    split : {"validation", "test"}
        Images that the accuracy is reported on.
    batch_images, max_epochs, averaged_epochs, tf32
        As `exact_cntk.finite.train_sgd` takes them.
    validation_images : int
        How many of the last images of the training pool the split "validation" does not train on.
    """

    name: str
    network: Family
    depth: int
    width: int
    output_scale: float
    rate: float
    seed: int
    split: str
    batch_images: int
    max_epochs: int
    averaged_epochs: int
    validation_images: int
    tf32: bool = False


def train(
    data_file: Path,
    out: Path,
    run: Run,
    *,
    study: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    checkpoint: Path | None = None,
    progress: bool | Progress = False,
    log: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Train one network and write its outcome and learning curve; an interrupted call resumes from its checkpoint.

    The same data, run and machine give the same bytes, interrupted or not.

    Parameters
    ----------
    study : str, optional
        Name of the study; by default that of the data file.
    device : {"auto", "cpu", "cuda"}
        "auto" takes a GPU, if there is one, for epochs of at least 10¹² operations.
    threads : int, optional
        CPU threads; by default one per core. The last bits of results depend on it.
    checkpoint : Path, optional
        By default a hidden file in the folder of `out`; removed when `out` is written.
    log : callable(line), optional
        Receives a line on device and settings.

    Raises
    ------
    InputError, UserError
        A part of the run is not allowed; data are missing or damaged, there is no such device, or the disk is full.
    """
    data = load_processed(data_file)
    sets = split_data(data, run)
    shape, outputs = data.train_images.shape[1:], len(data.class_names)
    work = epoch_operations(run.network, shape, run.depth, run.width, outputs, len(sets[0][0]), len(sets[1][0]))
    device = check.as_choice("device", device, DEVICES)
    checkpoint = checkpoint or out.with_name(f".{out.name}.checkpoint.npz")
    if checkpoint.is_dir():
        raise UserError(f"checkpoint {checkpoint} is a folder; name a file")
    wants_gpu = device == "cuda" or (device == "auto" and work >= HEAVY_OPERATIONS)
    with sole_device() if wants_gpu else nullcontext():
        network, computed = _network(data, run, wants_gpu, device == "cuda", threads, log)
        outcome = _train(network, computed, run, sets, checkpoint, progress)
    document = {
        "format_version": FORMAT_VERSION,
        "study": study or data_file.stem,
        "data": describe_data(data),
        "family": run.name,
        **run.network.stated_parts(depth=run.depth, width=run.width, output_scale=run.output_scale),
        "train_images": len(sets[0][0]),
        "held_out_images": len(sets[1][0]),
        "protocol": {name: getattr(run, name) for name in PROTOCOL},
        "computed": computed,
        **{name: getattr(run, name) for name in ("split", "rate", "seed")},
        **outcome,
    }
    write_result(out, document)
    checkpoint.unlink(missing_ok=True)  # last, so that a call killed before this can resume
    return document


def split_data(data: ProcessedData, run: Run) -> Sets:
    """Images and classes that a run trains on, and those that it reports the accuracy on.

    Raises
    ------
    InputError
        No such split, or it leaves nothing to train on.
    """
    if check.as_choice("split", run.split, SPLITS) == "test":
        return (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    pool, left_out = len(data.train_labels), check.as_integer("validation_images", run.validation_images, at_least=1)
    if left_out >= pool:
        raise InputError(f"validation_images is {left_out}; allowed are integers below the training pool of {pool}")
    training, validation = slice(pool - left_out), slice(pool - left_out, pool)
    return (data.train_images[training], data.train_labels[training]), (
        data.train_images[validation],
        data.train_labels[validation],
    )


def _network(
    data: ProcessedData,
    run: Run,
    wants_gpu: bool,
    needs_gpu: bool,
    threads: int | None,
    log: Callable[[str], object] | None,
) -> tuple["CNN", dict[str, Any]]:
    """The network on its device, and how it is computed, for file and log."""
    from exact_cntk import finite
    from exact_cntk.finite._torch import torch

    if needs_gpu and not torch.cuda.is_available():
        raise UserError(f"device is 'cuda', but torch {torch.__version__} can use no GPU here; allowed: 'auto', 'cpu'")
    if threads is not None:
        torch.set_num_threads(check.as_integer("threads", threads, at_least=1))
    on_gpu = wants_gpu and torch.cuda.is_available()
    network = finite.CNN(
        data.train_images.shape[1:],
        depth=run.depth,
        width=run.width,
        outputs=len(data.class_names),
        output_scale=run.output_scale,
        seed=run.seed,
        **run.network.arguments(),
    ).to("cuda" if on_gpu else "cpu")
    computed = {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "torch": torch.__version__,
        "dtype": DTYPE,
        "tf32": run.tf32 and on_gpu,
        "compiled": on_gpu and finite.compiles(network, min(run.batch_images, IMAGES_AT_ONCE), log),
        "channels_last": on_gpu,
    }
    if log is not None:
        log("training: " + ", ".join(f"{key} {value}" for key, value in computed.items()))
    return network, computed


def _train(
    network: "CNN",
    computed: dict[str, Any],
    run: Run,
    sets: Sets,
    checkpoint: Path,
    progress: bool | Progress,
) -> dict[str, Any]:
    """Outcome and learning curve, ready for JSON."""
    from exact_cntk import finite

    training, (x_test, labels_test) = sets
    options: dict[str, Any] = {"images_at_once": IMAGES_AT_ONCE, "tf32": computed["tf32"]}
    rows = finite.train_sgd(
        network,
        *training,
        rate=run.rate,
        max_epochs=run.max_epochs,
        batch_images=run.batch_images,
        seed=run.seed,
        averaged_epochs=run.averaged_epochs,
        x_test=x_test,
        labels_test=labels_test,
        compiled=computed["compiled"],
        channels_last=computed["channels_last"],
        checkpoint=checkpoint,
        progress=progress,
        **options,
    )
    result = finite.outcome(rows, run.averaged_epochs)
    correct = finite.predict_classes(network, x_test, **options) == labels_test
    return {
        **{name: value for name, value in asdict(result).items() if name != "test_accuracy"},
        "accuracy": result.test_accuracy,
        "correct_hex": None if result.diverged else pack_answers(correct),
        "curve": {
            "step": [row.step for row in rows],
            "loss": [rounded(row.loss) for row in rows],
            "train_accuracy": [rounded(row.train_accuracy, 17) for row in rows],
            "accuracy": [rounded(row.test_accuracy, 17) for row in rows],
        },
    }
