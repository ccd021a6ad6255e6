# What the study computes beside its kernels, section by section: names of files, and what is made from what.
from exact_cntk.study.sections import SECTIONS, present

# Of the sections that this study has.
PRESENT = present(PARAMS)
PAGES = [f"{RESULTS}/sections/{key}.json" for key in PRESENT]
PRESENTED = [
    *(f"{RESULTS}/tables/{table}.csv" for key in PRESENT for table in SECTIONS[key].tables),
    *(f"{RESULTS}/figures/{figure}.svg" for key in PRESENT for figure in SECTIONS[key].figures),
]
# The files that a section's own rules make, by its key; each section's file of rules fills in its own.
SECTION_FILES = {}
SECTION_PARAMETERS = [f"{RESULTS}/{key}/parameters.yaml" for key in SECTIONS if key in PARAMS]
SECTION_PROVENANCE = [f"{RESULTS}/section_provenance/{key}.json" for key in SECTIONS if key in PARAMS]
# The section that a notebook shows, None where it shows the metrics alone.
NOTEBOOKS = {"table1": None, "ridge": None} | {SECTIONS[key].notebook: key for key in PRESENT}


def section_files(key):
    """List the files that a section's own rules make."""
    return SECTION_FILES[key]


def notebook_files(wildcards):
    """List what a notebook reads beside the metrics."""
    key = NOTEBOOKS[wildcards.notebook]
    return section_files(key) if key else []


def notebook_parameters(wildcards, input):
    """Write a notebook's parameters as the runner takes them: those of a section are the same for all sections."""
    given = {"study_dir": RESULTS, "metrics": f"[{comma(input.metrics)}]"}
    if NOTEBOOKS[wildcards.notebook]:
        given |= {"files": f"[{comma(input.files)}]", "resamples": REPORT["resamples"], "seed": REPORT["seed"]}
    return " ".join(f"'{name}={value}'" for name, value in given.items())


def runs_of_cnn(wildcards):
    """List the runs of an architecture."""
    folder = f"{RESULTS}/training/{wildcards.cnn}-depth-{wildcards.depth}"
    return [
        f"{folder}/{run_name(run.rate, run.seed, run.split)}.json"
        for run in CNN_RUNS
        if (run.family, run.depth) == (wildcards.cnn, int(wildcards.depth))
    ]


def cnn_gpu(_wildcards):
    """Give a GPU to runs that would take a CPU long, where there is one."""
    from exact_cntk._support.machine import gpu_present

    return int(gpu_present() and trains_long(PARAMS))


def features_threads(_wildcards):
    """One core a job, for there are many jobs; a few beside a GPU."""
    return BESIDE_GPU if backend_here() == "cuda" else 1


def features_solve_threads(_wildcards):
    """One core for small problems, as in `solve_threads`, and all for a large one."""
    return 1 if FEATURES["train_images"] <= 4000 else MANY


def features_gpu(_wildcards):
    """Give a GPU to networks where the kernels take one."""
    return int(backend_here() == "cuda")


def architecture_block_files(wildcards):
    """List the blocks of a pass of the grid."""
    kernel_id = GRID[wildcards.architecture_pass].kernel_id
    return expand(rules.kernel_block.output, kernel_id=kernel_id, block=list(BLOCKS[kernel_id]))


def architectures_gpu(_wildcards):
    """Give a GPU to problems that are solved on one, where there is one."""
    from exact_cntk.regression.solvers.choice import prefers_gpu

    return int(prefers_gpu(ARCHITECTURES["train_images"]))


for key in SECTIONS:

    include: f"{key}.smk"
