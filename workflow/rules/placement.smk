# Where jobs run: what each asks for. The job itself takes a GPU where its machine has one, and the CPU elsewhere; what a
# cluster or a machine with several GPUs gives to each is in profiles.
from exact_cntk.regression.solvers.choice import prefers_gpu
from exact_cntk.study.passes import pass_memory, pass_seconds
from exact_cntk.study.solving import solve_memory, solve_seconds
from exact_cntk.study.work import SIDE_BY_SIDE

# Snakemake scales it down to the cores that it is given.
MANY = 256
# Merging and solving refuse to need more than this. Not a parameter of their rules: it is no reason to run them again.
MEMORY_GIB = str(SOLVE["max_memory_gib"]) if SOLVE else "16"
MEMORY_MB = int(1024 * float(MEMORY_GIB))
# `--resources gpu=0` hides any GPU.
HIDE_GPU = "if [ {resources.gpu} = 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
RUN_JOB = (
    f"{HIDE_GPU}exact-cntk --made-from {{params.made_from}} section run {{params.job}} --params {{resources.study}}"
    " --threads {threads} --max-memory-gib {resources.max_memory_gib} > {log} 2>&1"
)


def largest_subset():
    """Count the images of the largest training set."""
    return max(subset["train_images"] for subset in SOLVE["subsets"])


def threads_to_solve(train_images):
    """Give a problem one core, or all of them if it is large."""
    return 1 if train_images <= SIDE_BY_SIDE else MANY


def solve_memory_mb():
    """Give a solve the memory of the method that it takes without GPU, with what Python and BLAS take themselves."""
    return solve_memory(PARAMS) // 2**20 + 2000


def solve_minutes():
    """Give a solve four times what it is expected to take on one core, and an hour at least."""
    return max(60, int(4 * solve_seconds(PARAMS) / 60))


def section_threads(key):
    """Threads of a section's jobs: by the size of its training sets."""
    return threads_to_solve(PARAMS[key]["train_images"])


def kernel_memory_mb(wildcards):
    """Give the memory of a block job, with what Python and CUDA take themselves."""
    return pass_memory(PARAMS, PASSES[wildcards.kernel_id]) // 2**20 + 2000


def kernel_minutes(wildcards):
    """Give a block four times what it is expected to take, and ten minutes at least."""
    seconds = pass_seconds(PARAMS, PASSES[wildcards.kernel_id], block_position(wildcards))
    return max(10, int(4 * seconds / 60))


def section_memory_mb(key):
    """Give a section's jobs what the estimate says of the largest, with what Python takes itself."""
    from importlib import import_module

    return import_module(f"exact_cntk.study.sections.{key}.cost").expected_memory(PARAMS) // 2**20 + 1000
