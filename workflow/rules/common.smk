# What all stages share: the checked parameters, and the names of files.
import json
import os
import shlex
import sys
from pathlib import Path

from exact_cntk.blocks import block_name, kernel_name
from exact_cntk.errors import UserError
from exact_cntk.study.params import SCHEMA, check_params, kernel_blocks, kernel_depths, kernel_passes
from snakemake.exceptions import WorkflowError

# Jobs call the `exact-cntk` of the environment that runs Snakemake, whether it is activated or not. The second variable
# marks them, so that `make study` finds those that a killed run has left behind.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    EXACT_CNTK_WORKFLOW=os.getcwd(),
)

try:
    PARAMS = check_params(config, source="parameters", schema=Path(workflow.basedir) / SCHEMA)
except UserError as error:
    raise WorkflowError(str(error)) from None

PREPARE, KERNELS, SOLVE, REPORT = (PARAMS[key] for key in ("prepare", "kernels", "solve", "report"))
PASSES = {one.kernel_id: one for one in kernel_passes(PARAMS)}
BLOCKS = {Path(block_name(position)).stem: position for position in kernel_blocks(PARAMS)}

ARCHIVE = "data/raw/cifar-10-python.tar.gz"
RESULTS = f"results/{PARAMS['study']}"
DATA = f"data/processed/{PARAMS['study']}.h5"
DIGEST = f"data/processed/{PARAMS['study']}.json"
# Snakemake scales it down to the cores that it is given.
MANY = 256
# Merging and solving refuse to need more than this. Not a parameter of their rules: it is no reason to run them again.
MEMORY_GIB = str(SOLVE["max_memory_gib"])
MEMORY_MB = int(1024 * SOLVE["max_memory_gib"])


wildcard_constraints:
    kernel_id="|".join(map(re.escape, PASSES)),
    block=r"\d+-\d+",
    family="|".join(sorted({re.escape(one.family) for one in PASSES.values()})),
    depth=r"\d\d+",


def each_kernel(pattern, families=None):
    """List `pattern` with the name of every merged kernel, of all families or some."""
    names = [
        kernel_name(family, depth) for family, depth in kernel_depths(PARAMS) if not families or family in families
    ]
    return [f"{RESULTS}/{pattern.format(kernel=name)}" for name in names]


def sources(*patterns):
    """List source files that define a stage's numbers: Snakemake does not see by itself that a command has changed."""
    return [str(path) for pattern in patterns for path in sorted(Path("src/exact_cntk").glob(pattern))]


def comma(values):
    """Join the values that one option of the command line takes."""
    return ",".join(map(str, values))


def raw_files(_wildcards):
    """List the files that the images are read from; Snakemake follows the files of a folder, not a folder."""
    if PREPARE["dataset"] == "digits":
        return []
    if PREPARE["source"] is None:
        return ancient(ARCHIVE)  # its md5 is verified, so that its age says nothing
    source = Path(PREPARE["source"])
    return sorted(map(str, source.glob("*batch*"))) if source.is_dir() else [str(source)]


def digest_file(_wildcards):
    """Name the file of the data's digest, once it is written."""
    return checkpoints.preprocess.get().output.digest


def data_digest(_wildcards):
    """Read the data's digest: the kernels depend on it, and not on the age of any file."""
    return json.loads(Path(DIGEST).read_text())["digest"] if Path(DIGEST).exists() else ""


def blocks_of_pass(wildcards):
    """List the blocks of the pass that computes a family's depth."""
    (kernel_id,) = [
        name for name, one in PASSES.items() if one.family == wildcards.family and int(wildcards.depth) in one.depths
    ]
    return expand(rules.kernel_block.output, kernel_id=kernel_id, block=list(BLOCKS))


def solve_threads(_wildcards):
    """One core for each of the small problems, which run side by side, and all cores for a large one.

    The last digits of a linear solver depend on the number of threads, so that it must not vary where it need not.
    """
    return 1 if max(subset["train_images"] for subset in SOLVE["subsets"]) <= 4000 else MANY


def study_dir(_wildcards):
    """Name the folder of the study."""
    return RESULTS


def describe_plan():
    """Say in one line what the blocks still to compute take here, measured in half a second."""
    from exact_cntk.study.estimate import estimate_study, format_count, format_time

    blocks = [job.wildcards for job in workflow.dag.needrun_jobs() if job.rule.name == "kernel_block"]
    if not blocks:
        return f"{PARAMS['study']}: no kernel to compute"
    pairs = dict.fromkeys((one.family for one in PASSES.values()), 0)
    for block in blocks:
        pairs[PASSES[block.kernel_id].family] += BLOCKS[block.block].pairs
    try:
        plan = estimate_study(PARAMS, calibration_seconds=0.5)
    except UserError as error:  # the jobs that it stops say it again
        return f"{PARAMS['study']}: no estimate, {error}"
    seconds = sum(cost.seconds_here * pairs[cost.family] / cost.pairs for cost in plan.costs)
    return (
        f"{PARAMS['study']}: {format_count(sum(pairs.values()))} pairs of images in {len(blocks)} blocks, "
        f"about {format_time(seconds)} on backend {plan.backend.name}"
    )


def describe_failure():
    """Say how to go on, and name the disks that are full, for what a job writes to its log is then lost as well."""
    from exact_cntk._machine import free_disk

    full = [folder for folder in (RESULTS, str(Path(DATA).parent), ".snakemake") if free_disk(Path(folder)) < 2**20]
    reason = f"no space left on the disk of {' and '.join(full)}; free some. " if full else ""
    return f"{PARAMS['study']}: {reason}Finished files stay: the same command goes on from there."
