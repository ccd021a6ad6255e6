# What the files of each step are made from: its sources, its parameters as its command takes them, and the results that
# it reads. Sources are the only files whose edit makes stale what is there: an edit of a plot computes no kernel.


PREPARE_SOURCES = in_package("data/*.py")


def raw_files(_wildcards):
    """List the files that the images are read from; Snakemake follows the files of a folder, not a folder."""
    if PREPARE["source"] is None and SOURCE.download is not None:
        return ancient(str(SOURCE.download.path))  # its md5 is verified, so that its age says nothing
    return SOURCE_FILES


def list_source():
    """List the files of the source that the parameters name; they must be there unless the images are prepared."""
    if PREPARE is None or PREPARE["source"] is None:
        return []
    try:
        return [str(path) for path in SOURCE.files(Path(PREPARE["source"]))]
    except UserError as error:
        if not Path(DATA).exists() or misfit([Path(DATA), Path(DIGEST)], to_make("preprocess", ()).statement):
            raise WorkflowError(f"parameters: prepare.source: {error}") from None
        return []  # it has done its work


MADE["preprocess"] = lambda _wildcards: made("preprocess", PREPARE, PREPARE_SOURCES, of_data=False)
SOURCE_FILES = list_source()


def prepared_data_fit(wildcards):
    """Prepare the images anew if those that are there are not what the parameters make, or one of the two files is.

    All else is held against their digest: without it, nothing could be said of any file.
    """
    if not (os.path.exists(DATA) and os.path.exists(DIGEST)):
        renew([DATA, DIGEST])
    elif misfit_now("preprocess", ()):
        renew_misfit("preprocess", wildcards)
    elif known_digest() != read_digest(Path(DATA)):
        renew([DATA, DIGEST])
        say_why(DATA, Misfit(f"the images are not those of {DIGEST}"))
    return []


# The only files of which an edit makes the kernels stale; an edit of plots or later stages does not. Those of a backend
# concern what it has computed.
BLOCK_SOURCES = in_package(
    "networks/family.py",
    "kernels/spec.py",
    "kernels/cntk.py",
    "kernels/flips.py",
    "blocks/_compute.py",
    "blocks/_file.py",
    "blocks/_writer.py",
)
CPU_SOURCES = in_package("kernels/cpu.py", "kernels/core/*")
BACKENDS = {
    "reference": in_package("kernels/reference.py"),
    "cpu": CPU_SOURCES,
    "cuda": CPU_SOURCES + in_package("kernels/cuda/*.py", "kernels/cuda/kernels/*.cu", "kernels/cuda/kernels/*.cuh"),
}
ASKED_FOR = KERNELS["backend"] if KERNELS else "auto"
ALLOWED_BACKENDS = {name: BACKENDS[name] for name in (["cpu", "cuda"] if ASKED_FOR == "auto" else [ASKED_FOR])}
MERGE_SOURCES = in_package("blocks/_cover.py", "blocks/_matrix.py", "blocks/_merge.py", "blocks/_merged.py")


def architecture(kernel_pass):
    """What a pass computes, but for its depths."""
    return (
        {"family": kernel_pass.name}
        | kernel_pass.network.parts()
        | {"kinds": kernel_pass.kinds, "dtype": KERNELS["dtype"]}
        | stated_storage(storage(PARAMS))
    )


def make_block(wildcards):
    """All blocks of a pass are made from the same."""
    kernel_pass = PASSES[wildcards.kernel_id]
    rows, cols = block_position(wildcards)
    return made(
        "kernel_block",
        architecture(kernel_pass) | {"depths": kernel_pass.depths},
        BLOCK_SOURCES,
        backends=ALLOWED_BACKENDS,
        place={"rows": str(rows), "cols": str(cols)},
    )


def make_kernel(wildcards):
    """A depth out of the blocks of its pass."""
    blocks = blocks_of_pass(wildcards)
    kernel_pass = PASSES[Path(blocks[0]).parent.name]
    depth = {"depth": int(wildcards.depth)}
    return made("merge_kernel", architecture(kernel_pass) | depth, MERGE_SOURCES, blocks[:1], ALLOWED_BACKENDS)


def look_at_block(wildcards):
    """Compute a block again if what is there is another one, unless all that is made from it is there."""
    kernel_pass = PASSES[wildcards.kernel_id]
    if kernel_pass.pool_images is None:
        needed = not all(is_usable(kernel_pass.name, depth) for depth in kernel_pass.depths)
    else:
        path = f"blocks/{kernel_pass.kernel_id}/{wildcards.block}.h5"
        needed = not all(map(is_current, made_of_result(path)))
    if needed:
        renew_misfit("kernel_block", wildcards)


def is_usable(family, depth):
    """Whether a merged kernel is current, and finds all of its blocks or has no reader to come."""
    path = kernel_file(family, depth)
    return is_current(path) and (not lost_block(path, os.stat(path).st_mtime_ns) or not is_to_be_read(family, depth))


def is_to_be_read(family, depth):
    """Whether something that is made from a merged kernel is not there, or nothing is made from it at all."""
    readers = made_of_result(f"kernels/{kernel_name(family, int(depth))}.h5")
    readers += [f"{RESULTS}/metrics/{kernel_name(family, int(depth))}.json"] if SOLVE else []
    return not (readers and all(map(is_current, readers)))


@cache
def lost_block(path, _written):
    """Name the first block that a merged kernel does not find as it was; None if it finds all."""
    lost = find_lost_block(Path(path))
    return lost and str(lost)


def look_at_kernel(wildcards):
    """Merge a kernel again if what is there is another one, or does not find its blocks and is to be read."""
    renew_misfit("merge_kernel", wildcards)
    path = kernel_file(wildcards.family, wildcards.depth)
    if is_current(path) and not is_usable(wildcards.family, wildcards.depth):
        renew([path])
        lost = lost_block(path, os.stat(path).st_mtime_ns)
        say_why(path, Misfit(f"its block {lost} is missing, or is another one than was merged"))


def made_of_result(path):
    """List the files of sections' jobs that read a result, which is named below the study's folder."""
    return [f"{RESULTS}/{job.files[0]}" for jobs in JOBS.values() for _, job in jobs.values() if path in job.inputs]


MADE |= {"kernel_block": make_block, "merge_kernel": make_kernel}


SOLVE_SOURCES = in_package(
    "regression/inputs.py",
    "regression/kernel_regression.py",
    "regression/result.py",
    "regression/ridge_path.py",
    "regression/solvers/*.py",
    "study/solve.py",
    "study/documents.py",
    "study/fits.py",
    "study/subsets.py",
)


def solved_kernel(wildcards):
    """List the merged kernel."""
    return [kernel_file(wildcards.family, wildcards.depth)]


def make_metrics(wildcards):
    """A kernel, the subsets and the ridge path."""
    subsets = [f"{subset['train_images']}x{subset['repeats']}" for subset in SOLVE["subsets"]]
    return made(
        "solve",
        {"study": PARAMS["study"], "subset": subsets, "ridges": SOLVE["ridges"]},
        SOLVE_SOURCES,
        solved_kernel(wildcards),
        ALLOWED_BACKENDS,
    )


MADE["solve"] = make_metrics


def make_job(step):
    """What a job of a section is made from: its plan says it."""

    def make(wildcards):
        _, job = job_of(step, wildcards)
        inputs = job_inputs(step)(wildcards)
        of_kernels = any(path.startswith(("kernels/", "blocks/")) for path in job.inputs)
        if any(path.startswith("blocks/") for path in job.inputs):
            inputs = inputs[:1]  # stands for all of its folder
        return made(step, job.parameters, step_sources(step), inputs, ALLOWED_BACKENDS if of_kernels else None)

    return make


MADE |= {step: make_job(step) for step in JOBS}


# What all sections share in showing their results.
SHOW_SOURCES = in_package(
    "networks/labels.py",
    "study/results.py",
    "study/documents.py",
    "study/show/*",
    "study/sections/__init__.py",
    "study/sections/_pages.py",
    "study/sections/_section.py",
)
SUMMARY_SOURCES = SHOW_SOURCES + in_package("study/summary.py")
REPORT_SOURCES = SHOW_SOURCES + in_package("study/report.py", "study/templates/*")
PROVENANCE_SOURCES = in_package("study/provenance.py")
RESAMPLING = {"study": PARAMS["study"]} | REPORT


def make_section_provenance(wildcards):
    """The section's parameters and files."""
    key = wildcards.section
    parameters = {"section": key, "parameters": PARAMS[key]}
    return made("section_provenance", parameters, PROVENANCE_SOURCES, section_files(key))


def section_sources(key):
    """List the sources whose edit makes a section's tables and figures stale."""
    return SHOW_SOURCES + in_package(f"study/sections/{key}/*.py", *plan(key).SECTION.shows)


def make_section(key):
    """A section's tables, figures and page."""
    files = section_metrics(key) + with_statement(section_files(key))
    return made(f"show_{key}", RESAMPLING, section_sources(key), files)


def notebook_sources(name):
    """List the sources whose edit makes a notebook stale, itself and what runs it among them."""
    return [*section_sources(NOTEBOOKS[name]), f"notebooks/{name}.ipynb", "workflow/scripts/run_notebook.py"]


def make_notebook(wildcards):
    """The results that a notebook reads, and the notebook itself."""
    name, key = wildcards.notebook, NOTEBOOKS[wildcards.notebook]
    files = section_metrics(key) + with_statement(section_files(key))
    return made("notebook", RESAMPLING, notebook_sources(name), files)


def make_report(_wildcards):
    """All that the page shows."""
    return made(
        "report", {"study": PARAMS["study"], "notebooks": list(NOTEBOOKS)}, REPORT_SOURCES, METRICS + PAGES + SHOWN
    )


MADE |= {
    "section_provenance": make_section_provenance,
    "summary": lambda _wildcards: made("summary", {"study": PARAMS["study"]}, SUMMARY_SOURCES, PAGES),
    "notebook": make_notebook,
    "report": make_report,
}


def parameters_fit(wildcards):
    """Write a section's parameters anew where the file has others."""
    path = Path(*section_parameters_file(wildcards))
    if path.exists() and path.read_bytes() != f"{section_text(wildcards)}\n".encode():
        renew([str(path)])
    return []


def section_parameters_file(wildcards):
    """Name the file of a section's parameters."""
    return [f"{RESULTS}/{wildcards.section}/parameters.yaml"]


def section_text(wildcards):
    """Write the parameters of a section in one line."""
    return json.dumps(PARAMS[wildcards.section], sort_keys=True)
