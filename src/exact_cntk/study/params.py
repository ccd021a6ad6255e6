"""The parameters of a study: read, checked, and what follows from them.

Snakemake and ``exact-cntk estimate`` both read ``params.yaml`` through this module, so that a typo gets the same answer
from both. What a single key may be is in ``workflow/schemas/params.schema.yaml``; what keys must be to each other is
here, for sections in `exact_cntk.study.section_params`, and for names in `exact_cntk.study.param_names`.
"""

import math
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from exact_cntk._cost import block_memory, element_layers
from exact_cntk.blocks._grid import Position, Span, block_positions, kernel_id
from exact_cntk.blocks._sizes import MAX_BLOCKS, BlockSizes, block_sizes
from exact_cntk.errors import InputError
from exact_cntk.study.param_names import name_contradictions
from exact_cntk.study.param_schema import fit_schema
from exact_cntk.study.section_params import section_contradictions

SCHEMA = Path("workflow/schemas/params.schema.yaml")

# Images by data set: (training, test) over all classes, and the resolutions that box averaging reaches.
_IMAGES = {"digits": (1000, 797), "cifar10": (50_000, 10_000)}
_RESOLUTIONS = {"digits": (8,), "cifar10": (32, 16, 8)}
_CHANNELS = {"digits": 1, "cifar10": 3}
_CIFAR10_CLASSES = 10


@dataclass(frozen=True)
class KernelPass:
    """One pass of the recursion: a family's architecture at all depths that are computed together.

    Attributes
    ----------
    family, readout, filter_size, depths, pooling_window, flips
        As `exact_cntk.cntk` takes them.
    trained : {"all", "hidden", "all,hidden"}
        Both variants come out of one pass.
    kinds : tuple of {"ntk", "nngp"}
    pool_images : int, optional
        How many images of the pool, its first ones, the kernels are computed between; None: all. With a number, blocks
        have the size that suits the pass, whatever the parameters say of the study's own kernels.
    """

    family: str
    readout: str
    trained: str
    filter_size: int
    depths: tuple[int, ...]
    kinds: tuple[str, ...] = ("ntk", "nngp")
    pooling_window: int | None = None
    flips: bool = False
    pool_images: int | None = None

    @property
    def kernel_id(self) -> str:
        """Name of the pass and of the folder of its blocks."""
        return kernel_id(self.family, self.depths)

    @property
    def outputs(self) -> int:
        """Number of kernels that come out of it."""
        variants = {"ntk": len(self.trained.split(",")), "nngp": 1}
        return len(self.depths) * sum(variants[kind] for kind in self.kinds)

    def layers(self, pairs: int, shape: tuple[int, ...], depth: int | None = None) -> int:
        """Count the element-layers of pairs of images, by default to its deepest; `exact_cntk._cost.element_layers`."""
        options: dict[str, Any] = {"pooling_window": self.pooling_window, "flips": self.flips}
        return element_layers(pairs, shape, self.readout, depth or self.depths[-1], **options)


def load_params(path: str | Path, schema: str | Path | None = None) -> dict[str, Any]:
    """Read and check a parameter file.

    Parameters
    ----------
    path : path
        A YAML file, ``params.yaml`` or one of ``config/``.
    schema : path, optional
        By default ``workflow/schemas/params.schema.yaml`` above the file, the working directory or this module.

    Returns
    -------
    dict
        As in the file, with every value of the type that the schema wants.

    Raises
    ------
    InputError
        Naming the file, the key, its value and what is allowed.
    """
    path = Path(path)
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give a parameter file like params.yaml"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of a date, an encoding or nesting beyond all bounds
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    return check_params(params, source=str(path), schema=schema or find_schema(path.resolve().parent))


def check_params(params: object, *, source: str = "params.yaml", schema: str | Path | None = None) -> dict[str, Any]:
    """Check parameters that are read already, such as Snakemake's merged configuration.

    Parameters
    ----------
    params : mapping
        Left unchanged.
    source : str
        What an error message calls them.
    schema : path, optional
        See `load_params`.

    Returns
    -------
    dict
        A copy, with every value of the type that the schema wants.

    Raises
    ------
    InputError
        Naming the key, its value and what is allowed; for an unknown key or name, the nearest valid one.
    """
    path = Path(schema) if schema else find_schema()
    try:
        checked = fit_schema(params, path)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    for complaint in _contradictions(checked):
        raise InputError(f"{source}: {complaint}")
    return checked


def find_schema(start: Path | None = None) -> Path:
    """Find the schema of the checkout that holds `start`, the working directory or this module, in this order."""
    starts = [p for p in (start, Path.cwd(), Path(__file__).resolve().parent) if p is not None]
    for folder in (folder for p in starts for folder in (p, *p.parents)):
        if (folder / SCHEMA).is_file():
            return folder / SCHEMA
    raise InputError(f"{SCHEMA}: not found above {', '.join(map(str, starts))}; run inside a checkout of the project")


def kernel_passes(params: Mapping[str, Any]) -> tuple[KernelPass, ...]:
    """List the passes of all families, in the order of the file; those of the grid are `architecture_passes`."""
    return tuple(
        KernelPass(
            family["name"],
            family["readout"],
            family["trained"],
            family["filter_size"],
            tuple(depths),
            tuple(params["kernels"]["kinds"]),
            family.get("pooling_window"),
            family.get("flips", False),
        )
        for family in params["kernels"]["families"]
        for depths in family["depth_passes"]
    )


def kernel_depths(params: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """List (family, depth) of every merged kernel: families in the order of the file, depths increasing."""
    depths: dict[str, list[int]] = {}
    for one in kernel_passes(params):
        depths.setdefault(one.family, []).extend(one.depths)
    return tuple((family, depth) for family in depths for depth in sorted(depths[family]))


def image_shape(prepare: Mapping[str, Any]) -> tuple[int, int, int]:
    """Shape (P, Q, C) of the study's images."""
    return prepare["resolution"], prepare["resolution"], _CHANNELS[prepare["dataset"]]


def pass_block_sizes(params: Mapping[str, Any], one: KernelPass) -> BlockSizes:
    """Give the sizes of a pass's blocks: those of the parameters, or the ones that suit it where these say "auto".

    Raises
    ------
    InputError
        No blocks suit it.
    """
    prepare, kernels = params["prepare"], params["kernels"]
    if kernels["block_images"] != "auto" and one.pool_images is None:
        return BlockSizes(kernels["block_images"], kernels["block_images"])
    return block_sizes(
        one.pool_images or prepare["train_images"],
        prepare["test_images"],
        image_shape(prepare),
        readout=one.readout,
        depth=max(one.depths),
        outputs=one.outputs,
        backend=kernels["backend"],
        pooling_window=one.pooling_window,
        flips=one.flips,
    )


def kernel_blocks(params: Mapping[str, Any], one: KernelPass) -> list[Position]:
    """List the blocks of a pass: those between its images of the pool, and between them and the test set."""
    pool, n_test = params["prepare"]["train_images"], params["prepare"]["test_images"]
    n = one.pool_images or pool
    return [_in_pool(position, n, pool) for position in block_positions(n, n_test, pass_block_sizes(params, one))]


def _in_pool(position: Position, n: int, pool: int) -> Position:
    """A block of a kernel of the pool's first n images, placed in that of the whole pool: test rows come after it."""
    rows, cols = position
    return Position(Span(rows.start + pool - n, rows.stop + pool - n), cols) if rows.start >= n else position


def pass_memory(params: Mapping[str, Any], one: KernelPass) -> int:
    """Peak of the largest block job of a pass, in bytes: the images, and `exact_cntk._cost.block_memory`."""
    prepare, shape = params["prepare"], image_shape(params["prepare"])
    largest = max(kernel_blocks(params, one), key=lambda position: position.entries)
    images = 4 * (prepare["train_images"] + prepare["test_images"]) * math.prod(shape)
    return images + block_memory(*largest.shape, one.outputs, shape, one.depths[-1])


def _contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a schema cannot say: keys that contradict each other."""
    yield from _data_contradictions(params["prepare"])
    yield from _kernel_contradictions(params)
    yield from _solve_contradictions(params)
    yield from section_contradictions(params)
    yield from name_contradictions(params)


def _data_contradictions(prepare: Mapping[str, Any]) -> Iterator[str]:
    dataset = prepare["dataset"]
    if prepare["resolution"] not in _RESOLUTIONS[dataset]:
        allowed = ", ".join(map(str, _RESOLUTIONS[dataset]))
        yield f"prepare.resolution: {prepare['resolution']} is not possible with dataset {dataset}; allowed: {allowed}"
    if prepare["source"] is not None and dataset != "cifar10":
        yield f"prepare.source: {prepare['source']!r} with dataset {dataset}, which needs none; set it to null"
    if wrong := next((one for one in prepare["source"] or "" if one in "{}" or not _printable(one)), None):
        yield (
            f"prepare.source: {prepare['source']!r} holds {wrong!r}, which no file of the workflow can have in its "
            f"name; rename the file or folder, or make a link to it"
        )
    if len(prepare["classes"]) == 1:
        yield f"prepare.classes: {prepare['classes']} is one class alone; give at least two, or [] for all"
    for key, images in zip(("train_images", "test_images"), _IMAGES[dataset], strict=True):
        if prepare["classes"] and dataset == "cifar10":  # balanced; those of digits are counted when they are read
            images = images * len(prepare["classes"]) // _CIFAR10_CLASSES
        if prepare[key] > images:
            yield f"prepare.{key}: {prepare[key]} is more than the {images} images that there are"


def _printable(letter: str) -> bool:
    """Whether it is no control character, end of a line or half of a surrogate pair."""
    return unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp")


def _kernel_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    names: set[str] = set()
    for i, family in enumerate(params["kernels"]["families"]):
        key = f"kernels.families[{i}]"
        if family["name"] in names:
            yield f"{key}.name: {family['name']!r} is there twice; give each family a name of its own"
        names.add(family["name"])
        if family["filter_size"] % 2 == 0:
            yield f"{key}.filter_size: {family['filter_size']} is even; filters have a centre, so give an odd size"
        yield from _window_contradictions(key, family)
        seen: set[int] = set()
        for j, depths in enumerate(family["depth_passes"]):
            if any(a >= b for a, b in pairwise(depths)):
                yield f"{key}.depth_passes[{j}]: {depths} does not increase; sort it and leave out repeats"
            if seen & set(depths):
                yield f"{key}.depth_passes[{j}]: depth {min(seen & set(depths))} is in an earlier pass; remove it here"
            seen |= set(depths)
    yield from _block_contradictions(params)


def _window_contradictions(key: str, family: Mapping[str, Any]) -> Iterator[str]:
    window = family.get("pooling_window")
    if family["readout"] != "lap":
        if window is not None:
            yield f"{key}.pooling_window: {window} with readout {family['readout']}; windows are lap's, so leave it out"
    elif window is None:
        yield f"{key}.pooling_window: missing with readout lap; give an odd number of pixels, the side of its windows"
    elif window % 2 == 0:
        yield f"{key}.pooling_window: {window} is even; windows have a centre, so give an odd size"


def _block_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    from exact_cntk.study.architectures import architecture_passes

    for one in architecture_passes(params):
        try:
            pass_block_sizes(params, one)
        except InputError as error:
            yield f"architectures.depths: no blocks suit {one.kernel_id}: {error}"
            return
    given = f"kernels.block_images: {params['kernels']['block_images']}"
    for one in kernel_passes(params):
        try:
            sizes = pass_block_sizes(params, one)
        except InputError as error:
            yield f"{given} finds no blocks for {one.kernel_id}: {error}"
            return
        # Counted, not listed, for there may be billions.
        if (blocks := sizes.blocks(params["prepare"]["train_images"], params["prepare"]["test_images"])) > MAX_BLOCKS:
            yield f"{given} gives {blocks} blocks a kernel, more than {MAX_BLOCKS}; give a larger number, or auto"
            return


def _solve_contradictions(params: Mapping[str, Any]) -> Iterator[str]:
    pool = params["prepare"]["train_images"]
    sizes: set[int] = set()
    for i, subset in enumerate(params["solve"]["subsets"]):
        images, repeats = subset["train_images"], subset["repeats"]
        if images * repeats > pool:
            yield (
                f"solve.subsets[{i}]: {repeats} sets of {images} images need {images * repeats}, "
                f"more than the pool of prepare.train_images = {pool}"
            )
        if images in sizes:
            yield f"solve.subsets[{i}].train_images: {images} is there twice; give one entry a number of images"
        sizes.add(images)
    ridges = params["solve"]["ridges"]
    if ridges[0] != 0 or any(a >= b for a, b in pairwise(ridges)):
        yield f"solve.ridges: {ridges} must increase from 0, which is the paper's protocol"
