# Tables, figures, notebooks and the page that people look at, all from metrics and sections' files.


wildcard_constraints:
    section="|".join(WITH_PARAMETERS),
    notebook="|".join(NOTEBOOKS) or "none",


localrules:
    section_parameters,


# DVC wants each of its outputs to exist, in a study without the section as well.
rule section_parameters:
    """Which parameters a section's files belong to; null where the study does not have the section."""
    input:
        fits=parameters_fit,
    output:
        f"{RESULTS}/{{section}}/parameters.yaml",
    log:
        f"{RESULTS}/logs/section_parameters/{{section}}.log",
    conda:
        "../../environment.yml"
    params:
        text=lambda wildcards: shlex.quote(section_text(wildcards)),
    message:
        "section_parameters: {wildcards.section}"
    shell:
        "printf '%s\\n' {params.text} > {output} 2> {log}"


rule section_provenance:
    """Code, packages and machine of the run in which a section's files were made."""
    input:
        fits=fits("section_provenance"),
        files=inputs_of("section_provenance", lambda wildcards: section_files(wildcards.section)),
        parameters=inputs_of("section_provenance", section_parameters_file),
        digest=ancient([DIGEST] if PREPARE else []),
        sources=sources(PROVENANCE_SOURCES),
    output:
        f"{RESULTS}/section_provenance/{{section}}.json",
    log:
        f"{RESULTS}/logs/section_provenance/{{section}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=500,
        runtime=10,
    params:
        made_from=made_from("section_provenance"),
        data=f"--data {DIGEST}" if PREPARE else "",
        timing=f"{RESULTS}/benchmarks/section_provenance/{{section}}.json",
    message:
        "section_provenance: {wildcards.section}"
    shell:
        "exact-cntk --made-from {params.made_from} section provenance {params.data} --parameters {input.parameters}"
        " --out {output} --timing {params.timing} > {log} 2>&1"


rule baselines:
    """All that the study computes beside its kernels, and where it comes from."""
    input:
        [section_files(key) for key in PRESENT],
        SECTION_PARAMETERS,
        SECTION_PROVENANCE,


for key in PRESENT:
    MADE[f"show_{key}"] = lambda _wildcards, key=key: make_section(key)
    CAPTIONS = (CHECKOUT / PACKAGE / "study/sections" / key / "captions").resolve()

    rule:
        name:
            f"show_{key}"
        input:
            fits=fits(f"show_{key}"),
            metrics=inputs_of(f"show_{key}", section_metrics(key)),
            files=inputs_of(f"show_{key}", section_files(key)),
            sources=sources(section_sources(key)),
        output:
            tables=[
                report(
                    f"{RESULTS}/tables/{table}.csv",
                    category="Tables",
                    caption=CAPTIONS / f"tables/{table}.rst",
                    labels={"table": table},
                )
                for table in plan(key).SECTION.tables
            ],
            texts=[f"{RESULTS}/tables/{text}" for text in plan(key).SECTION.texts],
            figures=[
                report(
                    f"{RESULTS}/figures/{figure}.svg",
                    category="Figures",
                    caption=CAPTIONS / f"figures/{figure}.rst",
                    labels={"figure": figure},
                )
                for figure in plan(key).SECTION.figures
            ],
            page=f"{RESULTS}/sections/{key}.json",
        log:
            f"{RESULTS}/logs/show/{key}.log",
        benchmark:
            f"{RESULTS}/benchmarks/show/{key}.tsv"
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=2000,
            runtime=30,
        params:
            key=key,
            study_dir=study_dir,
            metrics=lambda _wildcards, input: " ".join(f"--metrics {path}" for path in input.metrics),
            resamples=REPORT["resamples"],
            seed=REPORT["seed"],
            made_from=made_from(f"show_{key}"),
        message:
            "show: {params.key}"
        shell:
            "exact-cntk --made-from {params.made_from} section show {params.key} --study-dir {params.study_dir}"
            " {params.metrics} --resamples {params.resamples} --seed {params.seed} {input.files} > {log} 2>&1"


rule sections:
    """Tables, figures and page of every section."""
    input:
        PAGES,


rule summary:
    """The numbers of all sections in one tree, for `dvc metrics`."""
    input:
        fits=fits("summary"),
        sections=inputs_of("summary", PAGES),
        sources=sources(SUMMARY_SOURCES),
    output:
        summary=f"{RESULTS}/summary.json",
        made_from=f"{RESULTS}/summary.made_from.json",
    log:
        f"{RESULTS}/logs/summary.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        study_dir=study_dir,
        sections=lambda _wildcards, input: " ".join(f"--section {path}" for path in input.sections),
        made_from=made_from("summary"),
    message:
        "summary: {output.summary}"
    shell:
        "exact-cntk --made-from {params.made_from} summary --study-dir {params.study_dir} {params.sections} > {log} 2>&1"


rule notebook:
    """Execute a notebook on the study's results, and make a page of it that opens offline."""
    input:
        fits=fits("notebook"),
        notebook=lambda wildcards: ancient(str(CHECKOUT / f"notebooks/{wildcards.notebook}.ipynb")),
        metrics=inputs_of("notebook", lambda wildcards: section_metrics(NOTEBOOKS[wildcards.notebook])),
        files=inputs_of("notebook", lambda wildcards: section_files(NOTEBOOKS[wildcards.notebook])),
        sources=lambda wildcards: sources(notebook_sources(wildcards.notebook)),
        runner=ancient(str(CHECKOUT / "workflow/scripts/run_notebook.py")),
    output:
        notebook=f"{RESULTS}/notebooks/{{notebook}}.ipynb",
        page=report(
            f"{RESULTS}/notebooks/{{notebook}}.html",
            category="Notebooks",
            caption="../report/notebook.rst",
            labels={"notebook": "{notebook}"},
        ),
    log:
        f"{RESULTS}/logs/notebook/{{notebook}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/notebook/{{notebook}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=30,
    params:
        given=notebook_parameters,
        made_from=made_from("notebook"),
    message:
        "notebook: {output.page}"
    shell:
        "python {input.runner} --made-from {params.made_from} {input.notebook} {output.notebook} {output.page}"
        " {params.given} > {log} 2>&1"


# Beside metrics and sections' pages.
SHOWN = [
    *rules.summary.output,
    *PRESENTED,
    *(each_kernel("provenance/{kernel}.json") if SOLVE else []),
    *SECTION_PROVENANCE,
]


rule report:
    """One page with tables, figures and provenance, which opens offline."""
    input:
        fits=fits("report"),
        metrics=inputs_of("report", METRICS),
        sections=inputs_of("report", PAGES),
        shown=inputs_of("report", SHOWN),
        notebooks=inputs_of("report", expand(rules.notebook.output, notebook=NOTEBOOKS)),
        sources=sources(REPORT_SOURCES),
    output:
        report(f"{RESULTS}/report.html", category="Report", caption="../report/report.rst"),
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=10,
    params:
        study_dir=study_dir,
        sections=lambda _wildcards, input: " ".join(f"--section {path}" for path in input.sections),
        made_from=made_from("report"),
    message:
        "report: {output}"
    shell:
        "exact-cntk --made-from {params.made_from} report --study-dir {params.study_dir} --out {output} {params.sections} {input.metrics}"
        " > {log} 2>&1"
