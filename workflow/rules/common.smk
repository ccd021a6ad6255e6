# What all stages share: the checked parameters, and the names of files.
import json
import os
import shlex
import sys
from functools import cache
from pathlib import Path

from exact_cntk.blocks import block_name, kernel_name
from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.study.sections.architectures.plan import architecture_passes
from exact_cntk.study.sections._collect import all_passes
from exact_cntk.study.params import SCHEMA, check_params
from exact_cntk.study.passes import kernel_blocks, kernel_depths, kernel_passes, pass_memory
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
PASSES = {one.kernel_id: one for one in all_passes(PARAMS)}  # check_params refuses two of one name
BLOCKS = {
    kernel_id: {Path(block_name(position)).stem: position for position in kernel_blocks(PARAMS, one)}
    for kernel_id, one in PASSES.items()
}

ARCHIVE = "data/raw/cifar-10-python.tar.gz"
RESULTS = f"results/{PARAMS['study']}"
DATA = f"data/processed/{PARAMS['study']}.h5"
DIGEST = f"data/processed/{PARAMS['study']}.json"
# Snakemake scales it down to the cores that it is given.
MANY = 256
# Beside a GPU: they prepare images, repeat in float64 the few pairs that need it, and write the file.
BESIDE_GPU = 4
# Merging and solving refuse to need more than this. Not a parameter of their rules: it is no reason to run them again.
MEMORY_GIB = str(SOLVE["max_memory_gib"])
MEMORY_MB = int(1024 * SOLVE["max_memory_gib"])


wildcard_constraints:
    kernel_id="|".join(map(re.escape, PASSES)),
    block=r"\d+-\d+",
    family="|".join(sorted({re.escape(one.name) for one in kernel_passes(PARAMS)})),
    depth=r"\d\d+",


def each_kernel(pattern, families=None):
    """List `pattern` with the name of every merged kernel, of all families or some."""
    names = [
        kernel_name(family, depth) for family, depth in kernel_depths(PARAMS) if not families or family in families
    ]
    return [f"{RESULTS}/{pattern.format(kernel=name)}" for name in names]


METRICS = each_kernel("metrics/{kernel}.json")


def kernel_file(family, depth):
    """Name a merged kernel."""
    return f"{RESULTS}/kernels/{kernel_name(family, int(depth))}.h5"


def comma(values):
    """Join the values that one option of the command line takes."""
    return ",".join(map(str, values))


def blocks_of_pass(wildcards):
    """List the blocks of the pass that computes a family's depth."""
    (kernel_id,) = [
        name for name, one in PASSES.items() if one.name == wildcards.family and int(wildcards.depth) in one.depths
    ]
    return expand(rules.kernel_block.output, kernel_id=kernel_id, block=list(BLOCKS[kernel_id]))


def block_position(wildcards):
    """Look up a block's place in its kernel."""
    return BLOCKS[wildcards.kernel_id][wildcards.block]


@cache
def backend_here():
    """Settle the backend of kernels: the parameters', or a GPU if there is one and no --resources gpu=0, or the CPU."""
    from exact_cntk.kernels.backends import choose_backend

    gpus = workflow.global_resources.get("gpu")
    if KERNELS["backend"] != "auto":
        return KERNELS["backend"]
    return "cpu" if gpus is not None and gpus.value == 0 else choose_backend()[0]


def kernel_threads(_wildcards):
    """All cores, or a few beside a GPU, so that several GPUs have jobs at the same time."""
    return BESIDE_GPU if backend_here() == "cuda" else MANY


def kernel_memory_mb(wildcards):
    """Give the memory of a block job, with what Python and CUDA take themselves."""
    return pass_memory(PARAMS, PASSES[wildcards.kernel_id]) // 2**20 + 2000


def solve_threads(_wildcards):
    """One core for each of the small problems, which run side by side, and all cores for a large one.

    The last digits of a linear solver depend on the number of threads, so that it must not vary where it need not.
    """
    return 1 if largest_subset() <= 4000 else MANY


def solve_gpu(_wildcards):
    """Give a GPU to problems that are solved on one, where there is one."""
    from exact_cntk.regression.solvers.choice import prefers_gpu

    return int(prefers_gpu(largest_subset()))


def largest_subset():
    """Count the images of the largest training set."""
    return max(subset["train_images"] for subset in SOLVE["subsets"])


def study_dir(_wildcards):
    """Name the folder of the study."""
    return RESULTS
