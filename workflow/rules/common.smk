# What all stages share: the checked parameters, and the names of files.
import json
import shlex
import signal
import sys
from functools import cache
from hashlib import sha256

from exact_cntk.blocks import block_name, find_lost_block, kernel_name
from exact_cntk.blocks._file import stated_storage
from exact_cntk.data import SOURCES
from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_json
from exact_cntk.study.params import SCHEMA, check_params
from exact_cntk.study.passes import kernel_blocks, kernel_depths, storage
from exact_cntk.study.sections import KEYS, has_parameters, plan, present
from exact_cntk.study.sections._collect import all_passes, planned_jobs
from exact_cntk.study.yaml_files import read_yaml
from snakemake.exceptions import WorkflowError

KILLED = (
    "This job was killed, most likely because memory ran out: close other programs, give --cores a smaller number, or "
    "use a larger machine."
)
# Jobs call the `exact-cntk` of the environment that runs Snakemake, whether it is activated or not. The second variable
# marks them, so that `make study` finds those that a killed run has left behind; the third is run when a command ends.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
    EXACT_CNTK_WORKFLOW=os.getcwd(),
    EXACT_CNTK_KILLED=f"[ $? != {128 + signal.SIGKILL} ] || echo '{KILLED}' >&2",
)

# Before every command: Snakemake's own options, and a word where a job's log has none, as of one that was killed.
shell.prefix('set -euo pipefail; trap "${{EXACT_CNTK_KILLED-}}" EXIT; ')

try:
    for path in workflow.configfiles:
        read_yaml(Path(path))  # a key given twice is an error, of which Snakemake takes the last
    PARAMS = check_params(config, source="parameters", schema=CHECKOUT / SCHEMA)
except UserError as error:
    raise WorkflowError(str(error)) from None

PREPARE, KERNELS, SOLVE, REPORT = (PARAMS[key] for key in ("prepare", "kernels", "solve", "report"))
PASSES = {
    kernel_pass.kernel_id: kernel_pass for kernel_pass in all_passes(PARAMS)
}  # check_params refuses two of one name
BLOCKS = {
    kernel_id: {Path(block_name(position)).stem: position for position in kernel_blocks(PARAMS, kernel_pass)}
    for kernel_id, kernel_pass in PASSES.items()
}
FAMILIES = KERNELS["families"] if KERNELS else []

SOURCE = None if PREPARE is None else SOURCES[PREPARE["dataset"]]
RESULTS = f"results/{PARAMS['study']}"
DATA = f"data/processed/{PARAMS['study']}.h5"
DIGEST = f"data/processed/{PARAMS['study']}.json"
# The jobs of sections, by step and name; what they compute is in the parameters, which they read from a file.
JOBS = planned_jobs(PARAMS)


wildcard_constraints:
    **{step: "|".join(map(re.escape, jobs)) or "none" for step, jobs in JOBS.items()},
    kernel_id="|".join(map(re.escape, PASSES)) or "none",
    block=r"\d+-\d+",
    family="|".join(sorted(re.escape(family["name"]) for family in FAMILIES)) or "none",
    depth=r"\d\d+",


def each_kernel(pattern, families=None):
    """List `pattern` with the name of every merged kernel, of all families or some."""
    names = [
        kernel_name(family, depth) for family, depth in kernel_depths(PARAMS) if not families or family in families
    ]
    return [f"{RESULTS}/{pattern.format(kernel=name)}" for name in names]


METRICS = each_kernel("metrics/{kernel}.json") if SOLVE else []


def kernel_file(family, depth):
    """Name a merged kernel."""
    return f"{RESULTS}/kernels/{kernel_name(family, int(depth))}.h5"


def comma(values):
    """Join the values that one option of the command line takes."""
    return ",".join(map(str, values))


def blocks_of(passes):
    """List the blocks of passes, which are given by their names."""
    return [f"{RESULTS}/blocks/{kernel_id}/{block}.h5" for kernel_id in passes for block in BLOCKS[kernel_id]]


def blocks_of_pass(wildcards):
    """List the blocks of the pass that computes a family's depth."""
    return blocks_of(
        name
        for name, kernel_pass in PASSES.items()
        if kernel_pass.name == wildcards.family and int(wildcards.depth) in kernel_pass.depths
    )


def block_position(wildcards):
    """Look up a block's place in its kernel."""
    return BLOCKS[wildcards.kernel_id][wildcards.block]


def study_dir(_wildcards):
    """Name the folder of the study."""
    return RESULTS


def job_of(step, wildcards):
    """Look up a section and its job; the wildcard has the name of the step."""
    return JOBS[step][getattr(wildcards, step)]


def job_inputs(step):
    """Input function: the results that a section's job reads."""
    return lambda wildcards: [f"{RESULTS}/{path}" for path in job_of(step, wildcards)[1].inputs]


def job_words(step):
    """Parameter of a rule: section and job, as `exact-cntk section run` takes them."""
    return lambda wildcards: " ".join([job_of(step, wildcards)[0], getattr(wildcards, step)])


def job_parameters(step):
    """Parameter of a rule: all numbers that a section's job depends on, in one line."""
    return lambda wildcards: json.dumps(job_of(step, wildcards)[1].parameters, sort_keys=True)


@cache
def parameters_file():
    """Write the checked parameters for the jobs of sections, to a file that is named by its content."""
    digest = sha256(json.dumps(PARAMS, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(".snakemake/parameters") / f"{PARAMS['study']}-{digest}.json"
    write_json(path, PARAMS)
    return str(path)


def study_parameters(_wildcards):
    """Name that file. A resource of rules, not a parameter: what a job depends on is among its parameters."""
    return parameters_file()
