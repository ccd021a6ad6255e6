# What the study computes beside its kernels, and how it is shown: names of files, and what is made from what.
PRESENT = present(PARAMS)
PAGES = [f"{RESULTS}/sections/{key}.json" for key in PRESENT]
PRESENTED = [
    f"{RESULTS}/{file}"
    for key in PRESENT
    for file in [
        *(f"tables/{table}.csv" for table in plan(key).SECTION.tables),
        *(f"tables/{text}" for text in plan(key).SECTION.texts),
        *(f"figures/{figure}.svg" for figure in plan(key).SECTION.figures),
    ]
]
WITH_PARAMETERS = list(filter(has_parameters, KEYS))
SECTION_PARAMETERS = [f"{RESULTS}/{key}/parameters.yaml" for key in WITH_PARAMETERS]
SECTION_PROVENANCE = [f"{RESULTS}/section_provenance/{key}.json" for key in WITH_PARAMETERS]
# The section that a notebook shows.
NOTEBOOKS = {notebook: key for key in PRESENT for notebook in plan(key).SECTION.notebooks}


def section_files(key):
    """List the files of a section's jobs, and of those sections that it shows as well.

    The parameters of the latter are there in a study without them as well: given no file at all, the verb and the
    notebook would take those that the study had before.
    """
    made = [path for step in plan(key).SECTION.steps for _, job in JOBS[step].values() for path in job.files]
    # files in other folders, such as single trainings, are on the way to these
    files = [f"{RESULTS}/{path}" for path in made if path.startswith(f"{key}/")]
    for other in plan(key).SECTION.reads:
        files += [*section_files(other), f"{RESULTS}/{other}/parameters.yaml"]
    return files


def section_metrics(key):
    """List the metrics, if a section needs them."""
    return METRICS if "metrics" in plan(key).SECTION.needs else []


def notebook_parameters(wildcards, input):
    """Write a notebook's parameters as the runner takes them; they are the same for all."""
    given = {"study_dir": RESULTS, "metrics": f"[{comma(input.metrics)}]", "files": f"[{comma(input.files)}]"}
    given |= {name: REPORT[name] for name in ("resamples", "seed")}
    return " ".join(f"'{name}={value}'" for name, value in given.items())


for key in WITH_PARAMETERS:
    if PARAMS[key] is not None:

        include: f"{key}.smk"


# Also for sections that the study does not have, for DVC has a stage for each.
for key in WITH_PARAMETERS:

    rule:
        name:
            key
        input:
            section_files(key),
