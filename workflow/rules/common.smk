# What all stages share: the checked parameters, and the names of files.
import os
import sys
from pathlib import Path

from exact_cntk.blocks import block_name, kernel_name
from exact_cntk.errors import UserError
from exact_cntk.study.params import SCHEMA, check_params, kernel_blocks, kernel_depths, kernel_passes
from snakemake.exceptions import WorkflowError

# Jobs call the `exact-cntk` of the environment that runs Snakemake, whether it is activated or not. The second variable
# marks them, so that `make study` finds those that a killed run has left behind.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
os.environ["EXACT_CNTK_WORKFLOW"] = os.getcwd()

try:
    PARAMS = check_params(config, source="parameters", schema=Path(workflow.basedir) / SCHEMA)
except UserError as error:
    raise WorkflowError(str(error)) from None

PREPARE, KERNELS, SOLVE, REPORT = (PARAMS[key] for key in ("prepare", "kernels", "solve", "report"))
PASSES = {one.kernel_id: one for one in kernel_passes(PARAMS)}
BLOCKS = {Path(block_name(position)).stem: position for position in kernel_blocks(PARAMS)}

RESULTS = f"results/{PARAMS['study']}"
DATA = f"data/processed/{PARAMS['study']}.h5"
DIGEST = f"data/processed/{PARAMS['study']}.json"
# Merging and solving refuse to need more than this.
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
