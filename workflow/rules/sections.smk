# What the study computes beside its kernels, section by section: names of files, and what is made from what.
from exact_cntk.study.sections import SECTIONS, present

STUDY_SOURCES = sources(*(f"study/{name}" for name in ["results.py", "references.*", "markup.py"]))
# Of the sections that this study has.
PRESENT = present(PARAMS)
PAGES = [f"{RESULTS}/sections/{key}.json" for key in PRESENT]
# The files that a section's own rules make, by its key; each section's file of rules fills in its own.
SECTION_FILES = {}
SECTION_PARAMETERS = [f"{RESULTS}/{key}/parameters.yaml" for key in SECTIONS if key in PARAMS]
SECTION_PROVENANCE = [f"{RESULTS}/section_provenance/{key}.json" for key in PRESENT if key in PARAMS]
# The section that a notebook shows, None where it shows the metrics alone.
NOTEBOOKS = {"table1": None, "ridge": None} | {SECTIONS[key].notebook: key for key in PRESENT}


def section_files(key):
    """List the files that a section's own rules make."""
    return SECTION_FILES[key] if key in SECTION_FILES else globals()[f"{key}_files"]()


def section_sources(key):
    """List the files whose edit makes a section's tables and figures stale."""
    own = [f"study/sections/{key}.py", *SECTIONS[key].sources]
    shared = sources("study/tables.py", "study/style.py", "study/sections/__init__.py", "study/sections/_dispatch.py")
    return list(dict.fromkeys(STUDY_SOURCES + shared + sources(*own)))


def notebook_files(wildcards):
    """List what a notebook reads beside the metrics."""
    key = NOTEBOOKS[wildcards.notebook]
    return section_files(key) if key else []


def notebook_sources(wildcards):
    """List the files whose edit makes a notebook stale."""
    key = NOTEBOOKS[wildcards.notebook]
    return section_sources(key) if key else rules.figures.input.sources + sources("study/headline.py")


def notebook_parameters(wildcards, input):
    """Write a notebook's parameters as the runner takes them: those of a section are the same for all sections."""
    given = {"study_dir": RESULTS, "metrics": f"[{comma(input.metrics)}]"}
    if NOTEBOOKS[wildcards.notebook]:
        given |= {"files": f"[{comma(input.files)}]", "resamples": REPORT["resamples"], "seed": REPORT["seed"]}
    return " ".join(f"'{name}={value}'" for name, value in given.items())


for key in SECTIONS:

    include: f"{key}.smk"
