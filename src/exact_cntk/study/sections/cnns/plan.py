"""The finite CNNs that a study trains: one job per architecture, rate, seed and split, and one to gather the runs."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from exact_cntk.blocks._grid import kernel_name
from exact_cntk.networks import Family
from exact_cntk.study.checks import increasing, named_families, something_trained
from exact_cntk.study.sections._section import FileName, Job, Section

SECTION = Section(
    notebooks={"cnn_vs_cntk": "trained finite networks compared with the exact kernels"},
    needs=("data", "metrics"),
    tables=("cnn_vs_cntk", "cnn_rates", "cnn_learning_curves"),
    figures=("cnn_vs_cntk", "cnn_learning_curves", "cnn_rates"),
    steps={
        "train_cnn": (
            *(f"finite/{name}.py" for name in ("networks", "training", "protocol", "_descent")),
            "study/documents.py",
            "study/sections/cnns/train.py",
        ),
        "gather_cnn": ("study/sections/cnns/gather.py",),
    },
)

SPLITS = ("validation", "test")
VALIDATION_SEEDS = (0,)  # one run per rate


class Key(NamedTuple):
    """What distinguishes the runs of a study."""

    family: str
    depth: int
    rate: float
    seed: int
    split: str


def runs(params: Mapping[str, Any]) -> list[Key]:
    """List the runs of a study's parameters; none if it has no CNNs."""
    cnns = params["cnns"]
    if cnns is None:
        return []
    return [
        Key(family["name"], depth, rate, seed, split)
        for family in cnns["families"]
        for depth in family["depths"]
        for rate in cnns["rates"]
        for split in SPLITS
        for seed in (VALIDATION_SEEDS if split == "validation" else range(cnns["seeds"]))
    ]


def factors(params: Mapping[str, Any]) -> dict[str, int]:
    """The number of runs as a product, by key."""
    cnns = params["cnns"]
    return {
        "cnns.families with their depths": sum(len(family["depths"]) for family in cnns["families"]),
        "cnns.rates": len(cnns["rates"]),
        "cnns.seeds and one for validation": len(VALIDATION_SEEDS) + cnns["seeds"],
    }


def contradictions(cnns: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield a complaint for every contradiction in the section's parameters."""
    yield from named_families("cnns.families", cnns["families"])
    for i, family in enumerate(cnns["families"]):
        yield from increasing(f"cnns.families[{i}].depths", family["depths"])
        yield from something_trained(f"cnns.families[{i}].depths", family, family["depths"])
    yield from increasing("cnns.rates", cnns["rates"])
    pool, validation, batch = params["prepare"]["train_images"], cnns["validation_images"], cnns["batch_images"]
    if validation >= pool:
        yield f"cnns.validation_images: {validation} leaves no image of prepare.train_images = {pool} to train on"
    elif batch > pool - validation:
        yield (
            f"cnns.batch_images: {batch} is more than the {pool - validation} images that cnns.validation_images = "
            f"{validation} leaves of the pool of prepare.train_images = {pool}"
        )
    if cnns["averaged_epochs"] > cnns["max_epochs"]:
        yield f"cnns.averaged_epochs: {cnns['averaged_epochs']} is more than cnns.max_epochs = {cnns['max_epochs']}"


def jobs(params: Mapping[str, Any]) -> dict[str, Job]:
    """The training runs, by architecture and `run_name`, and the jobs that gather them, by architecture."""
    cnns = params["cnns"]
    families = {} if cnns is None else {family["name"]: Family.from_parts(family) for family in cnns["families"]}
    trained: dict[str, Job] = {}
    for run in runs(params):
        protocol = ["width", "output_scale", "batch_images", "max_epochs", "averaged_epochs", "tf32"]
        protocol += ["validation_images"] * (run.split == "validation")
        name = f"{kernel_name(run.family, run.depth)}/{run_name(run.rate, run.seed, run.split)}"
        parameters = (
            {"study": params["study"]}
            | run._asdict()
            | families[run.family].stated_parts()
            | {part: cnns[part] for part in protocol}
        )
        trained[name] = Job("train_cnn", (f"training/{name}.json",), parameters)
    gathered: dict[str, list[str]] = {}
    for name, job in trained.items():
        gathered.setdefault(name.partition("/")[0], []).extend(job.files)
    return trained | {
        name: Job("gather_cnn", (f"cnns/{name}.json", f"cnns/{name}.csv"), {}, tuple(files))
        for name, files in gathered.items()
    }


def names(params: Mapping[str, Any]) -> Iterator[FileName]:
    """Name the files of every architecture, and the runs by their rates, which are the same for all of them."""
    for i, family in enumerate(params["cnns"]["families"]):
        for depth in family["depths"]:
            file = f"cnns/{kernel_name(family['name'], depth)}"
            yield FileName("file", file, f"cnns.families[{i}].name", family["name"])
    for i, rate in enumerate(params["cnns"]["rates"]):
        yield FileName("file", f"training/{run_name(rate, 0, 'test')}", f"cnns.rates[{i}]", rate)


def run_name(rate: float, seed: int, split: str) -> str:
    """Stem of a run's file; its rate reads back exactly, so that no two rates share a file."""
    text = f"{rate:g}"
    return f"rate-{text if float(text) == rate else repr(float(rate))}-seed-{seed}-{split}"
