# What the files of each step are made from: its sources, its parameters as its command takes them, and the results that
# it reads. Sources are the only files whose edit makes stale what is there: an edit of a plot computes no kernel.


PREPARE_SOURCES = in_package("data/*.py")


def raw_files(_wildcards):
    """List the files that the images are read from; Snakemake follows the files of a folder, not a folder."""
    if PREPARE["dataset"] == "digits":
        return []
    if PREPARE["source"] is None:
        return ancient(ARCHIVE)  # its md5 is verified, so that its age says nothing
    return SOURCE_FILES


def list_source():
    """List the files of the source that the parameters name; they must be there unless the images are prepared."""
    if PREPARE["source"] is None:
        return []
    from exact_cntk.data import source_files as files_of_source

    try:
        return [str(path) for path in files_of_source(Path(PREPARE["source"]))]
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
ALLOWED_BACKENDS = {
    name: BACKENDS[name] for name in (["cpu", "cuda"] if KERNELS["backend"] == "auto" else [KERNELS["backend"]])
}
MERGE_SOURCES = in_package("blocks/_cover.py", "blocks/_merge.py", "blocks/_merged.py")


def architecture(one):
    """What a pass computes, but for its depths."""
    return {"family": one.name} | one.network.parts() | {"kinds": one.kinds, "dtype": KERNELS["dtype"]}


def make_block(wildcards):
    """All blocks of a pass are made from the same."""
    one = PASSES[wildcards.kernel_id]
    rows, cols = block_position(wildcards)
    return made(
        "kernel_block",
        architecture(one) | {"depths": one.depths},
        BLOCK_SOURCES,
        backends=ALLOWED_BACKENDS,
        place={"rows": str(rows), "cols": str(cols)},
    )


def make_kernel(wildcards):
    """A depth out of the blocks of its pass."""
    blocks = blocks_of_pass(wildcards)
    one = PASSES[Path(blocks[0]).parent.name]
    depth = {"depth": int(wildcards.depth)}
    return made("merge_kernel", architecture(one) | depth, MERGE_SOURCES, blocks[:1], ALLOWED_BACKENDS)


def kernels_of_block(wildcards):
    """List what is made from a block."""
    one = PASSES[wildcards.kernel_id]
    if one.pool_images is not None:
        return [f"{RESULTS}/architectures/{one.name}.json"]
    return [kernel_file(one.name, depth) for depth in one.depths]


MADE |= {"kernel_block": make_block, "merge_kernel": make_kernel}


SOLVE_SOURCES = in_package(
    "regression/kernel_regression.py", "regression/ridge_path.py", "regression/solvers/*.py", "study/solve.py"
)


def solved_kernel(wildcards):
    """List the merged kernel."""
    return [kernel_file(wildcards.family, wildcards.depth)]


def make_metrics(wildcards):
    """A kernel, the subsets and the ridge path."""
    subsets = [f"{one['train_images']}x{one['repeats']}" for one in SOLVE["subsets"]]
    return made(
        "solve",
        {"study": PARAMS["study"], "subset": subsets, "ridges": SOLVE["ridges"]},
        SOLVE_SOURCES,
        solved_kernel(wildcards),
        ALLOWED_BACKENDS,
    )


MADE["solve"] = make_metrics


TRAIN_SOURCES = in_package(
    *(f"finite/{name}.py" for name in ["networks", "training", "protocol", "_descent"]), "study/sections/cnns/train.py"
)
GATHER_SOURCES = in_package("study/sections/cnns/gather.py")


def make_run(wildcards):
    """An architecture, its protocol, and what runs differ by."""
    name = f"rate-{wildcards.rate}-seed-{wildcards.seed}-{wildcards.split}"
    (run,) = (  # for the rate as the parameters have it
        run
        for run in CNN_RUNS
        if (run.family, run.depth) == (wildcards.cnn, int(wildcards.depth))
        and run_name(run.rate, run.seed, run.split) == name
    )
    family = CNN_FAMILIES[run.family]
    protocol = ["width", "output_scale", "batch_images", "max_epochs", "averaged_epochs", "tf32"]
    return made(
        "train_cnn",
        {"study": PARAMS["study"]}
        | run._asdict()
        | Family.from_parts(family).stated_parts()
        | {key: CNNS[key] for key in protocol + ["validation_images"] * (run.split == "validation")},
        TRAIN_SOURCES,
    )


def outcome_of_run(wildcards):
    """List what is made from a run."""
    return [f"{RESULTS}/cnns/{wildcards.cnn}-depth-{wildcards.depth}.json"]


MADE["train_cnn"] = make_run
MADE["gather_cnn"] = lambda wildcards: made("gather_cnn", {}, GATHER_SOURCES, runs_of_cnn(wildcards))


FEATURES_SOURCES = in_package(
    "regression/kernel_regression.py",
    "regression/ridge_path.py",
    "study/sections/random_features/plan.py",
    "study/sections/random_features/fits.py",
    "study/sections/random_features/jobs.py",
    "study/solve.py",
)
NETWORK_SOURCES = FEATURES_SOURCES + in_package(
    *(f"finite/{name}.py" for name in ["_contract", "_pass", "_signals", "empirical", "networks"])
)
SWEEP_SOURCES = NETWORK_SOURCES + in_package("finite/convergence.py")


def features_architecture(wildcards):
    """A family but for its depth, and the kinds of kernels."""
    one = FEATURES_FAMILIES[wildcards.features_family]
    parts = Family.from_parts(one).arguments()
    return {"study": PARAMS["study"], "family": one["name"]} | parts | {"kinds": KERNELS["kinds"]}


def features_problem(*names):
    """The images and the ridge path, and what else of the section."""
    section = {name: FEATURES[name] for name in (*names, "train_images", "test_images")}
    return section | {"ridges": SOLVE["ridges"]}


def make_draw(wildcards):
    """A random network of each depth."""
    parameters = features_architecture(wildcards) | features_problem("depths", "width")
    return made("random_features_draw", parameters | {"draw": int(wildcards.draw)}, NETWORK_SOURCES)


def make_exact(wildcards):
    """The exact kernels of a family."""
    parameters = {"study": PARAMS["study"]} | features_problem()
    kernels = exact_kernels(wildcards)
    return made("random_features_exact", parameters, FEATURES_SOURCES, kernels, ALLOWED_BACKENDS)


def exact_kernels(wildcards):
    """List a family's merged kernels."""
    return [kernel_file(wildcards.features_family, depth) for depth in FEATURES["depths"]]


def make_sweep(wildcards):
    """Networks of several widths."""
    return made("random_features_sweep", features_architecture(wildcards) | FEATURES["sweep"], SWEEP_SOURCES)


MADE |= {
    "random_features_draw": make_draw,
    "random_features_exact": make_exact,
    "random_features_sweep": make_sweep,
}


ARCHITECTURES_SOURCES = in_package(
    "regression/kernel_regression.py",
    "regression/ridge_path.py",
    "regression/solvers/*.py",
    "blocks/_block_set.py",
    "blocks/_cover.py",
    "study/sections/architectures/plan.py",
    "study/sections/architectures/jobs.py",
)


def make_architectures(wildcards):
    """The blocks of a pass, the training sets and the ridge path."""
    small, repeats = ARCHITECTURES["small_train_images"], ARCHITECTURES["small_repeats"]
    return made(
        "solve_architectures",
        {
            "study": PARAMS["study"],
            "train_images": ARCHITECTURES["train_images"],
            "subset": [f"{n}x{repeats}" for n in small],
            "ridges": SOLVE["ridges"],
        },
        ARCHITECTURES_SOURCES,
        architecture_block_files(wildcards)[:1],
        ALLOWED_BACKENDS,
    )


MADE["solve_architectures"] = make_architectures


SMALL_SOURCES = in_package(
    "study/sections/small_data/jobs.py", "study/sections/small_data/subsets.py", "study/solve.py"
)
SMALL_FIT_SOURCES = SMALL_SOURCES + in_package("regression/kernel_regression.py", "regression/ridge_path.py")
SMALL_KERNEL_SOURCES = SMALL_FIT_SOURCES + in_package("study/sections/small_data/kernels.py")
SMALL_BASELINE_SOURCES = SMALL_FIT_SOURCES + in_package("study/sections/small_data/baselines.py")
SMALL_CNN_SOURCES = SMALL_SOURCES + in_package(
    "finite/networks.py", "finite/_descent.py", "finite/training.py", "study/sections/small_data/networks.py"
)


def small_sets():
    """The training sets of all methods."""
    return {"study": PARAMS["study"]} | {name: SMALL[name] for name in ("train_images", "subsets", "seed")}


def small_kernel_file(wildcards):
    """List the merged kernel."""
    return [f"{RESULTS}/kernels/{wildcards.small_kernel}.h5"]


def make_small_kernel(wildcards):
    """A kernel, the training sets and the ridge path."""
    parameters, kernel = small_sets() | {"ridges": SOLVE["ridges"]}, small_kernel_file(wildcards)
    return made("small_data_kernel", parameters, SMALL_KERNEL_SOURCES, kernel, ALLOWED_BACKENDS)


def make_small_baseline(wildcards):
    """A method, the training sets and the settings to choose from."""
    settings = {name: SMALL[name] for name in ("bandwidths", "inverse_penalties", "trees")}
    parameters = {"method": wildcards.small_baseline} | small_sets() | {"ridges": SOLVE["ridges"]} | settings
    return made("small_data_baseline", parameters, SMALL_BASELINE_SOURCES)


def make_small_network(wildcards):
    """A network, the training sets and the protocol."""
    protocol = {name: value for name, value in SMALL["cnns"].items() if name not in ("families", "subsets")}
    network = SMALL_NETWORKS[wildcards.small_network] | protocol | {"network_subsets": SMALL["cnns"]["subsets"]}
    return made("small_data_cnn", small_sets() | network, SMALL_CNN_SOURCES)


MADE |= {
    "small_data_kernel": make_small_kernel,
    "small_data_baseline": make_small_baseline,
    "small_data_cnn": make_small_network,
}


STUDY_SOURCES = in_package(
    *(f"study/{name}" for name in ["results.py", "references.*", "markup.py"]), "networks/labels.py"
)
FIGURE_SOURCES = STUDY_SOURCES + in_package(
    "study/sections/accuracy/results.py", "study/sections/accuracy/figures.py", "study/show/style.py"
)
TABLES_SOURCES = STUDY_SOURCES + in_package("study/sections/accuracy/results.py", "study/sections/_pages.py")
REPORT_SOURCES = FIGURE_SOURCES + in_package(
    "study/sections/accuracy/page.py",
    "study/report.py",
    "study/templates/*",
    "study/sections/__init__.py",
    "study/sections/_pages.py",
)
PROVENANCE_SOURCES = in_package("study/provenance.py")
RESAMPLING = {"study": PARAMS["study"]} | REPORT


def make_section_provenance(wildcards):
    """The section's parameters and files."""
    key = wildcards.section
    parameters = {"section": key, "parameters": PARAMS[key]}
    return made("section_provenance", parameters, PROVENANCE_SOURCES, section_files(key))


def section_sources(key):
    """List the sources whose edit makes a section's tables and figures stale."""
    shared = [
        "study/sections/accuracy/results.py",
        "study/show/style.py",
        "study/sections/__init__.py",
        "study/sections/_pages.py",
    ]
    return STUDY_SOURCES + in_package(*shared, f"study/sections/{key}.py", *SECTIONS[key].sources)


def make_section(key):
    """A section's tables, figures and page."""
    files = METRICS + with_statement(section_files(key))
    return made(f"section_{key}", RESAMPLING, section_sources(key), files)


def notebook_sources(name):
    """List the sources whose edit makes a notebook stale, itself and what runs it among them."""
    key = NOTEBOOKS[name]
    package = section_sources(key) if key else FIGURE_SOURCES + in_package("study/sections/accuracy/page.py")
    return [*package, f"notebooks/{name}.ipynb", "workflow/scripts/run_notebook.py"]


def make_notebook(wildcards):
    """The results that a notebook reads, and the notebook itself."""
    name = wildcards.notebook
    parameters = RESAMPLING if NOTEBOOKS[name] else {"study": PARAMS["study"]}
    return made("notebook", parameters, notebook_sources(name), METRICS + with_statement(notebook_files(wildcards)))


def make_report(_wildcards):
    """All that the page shows."""
    return made(
        "report", {"study": PARAMS["study"], "notebooks": list(NOTEBOOKS)}, REPORT_SOURCES, METRICS + PAGES + SHOWN
    )


MADE |= {
    "section_provenance": make_section_provenance,
    "tables": lambda _wildcards: made("tables", {"study": PARAMS["study"]}, TABLES_SOURCES, METRICS + PAGES),
    "figures": lambda _wildcards: made("figures", {"study": PARAMS["study"]}, FIGURE_SOURCES, METRICS),
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
