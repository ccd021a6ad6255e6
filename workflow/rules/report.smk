# Tables, figures, notebooks and the page that people look at, all from the metrics alone.
TABLES = ["accuracy.csv", "accuracy_by_depth.csv", "ridge_path.csv", "spectra.csv", "table1.csv"]
FIGURES = ["accuracy", "ridge_path", "spectra", "condition_number"]


wildcard_constraints:
    section="|".join(SECTIONS),
    notebook="|".join(NOTEBOOKS),


localrules:
    section_parameters,


# DVC wants each of its outputs to exist, in a study without the section as well.
rule section_parameters:
    """Which parameters a section's files belong to; null where the study does not have the section."""
    output:
        f"{RESULTS}/{{section}}/parameters.yaml",
    log:
        f"{RESULTS}/logs/section_parameters/{{section}}.log",
    conda:
        "../../environment.yml"
    params:
        text=lambda wildcards: shlex.quote(json.dumps(PARAMS[wildcards.section], sort_keys=True)),
    message:
        "section_parameters: {wildcards.section}"
    shell:
        "printf '%s\\n' {params.text} > {output} 2> {log}"


rule section_provenance:
    """Code, packages and machine of the run in which a section's files were made."""
    input:
        files=lambda wildcards: section_files(wildcards.section),
        parameters=rules.section_parameters.output,
        digest=ancient(DIGEST),
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
    message:
        "section_provenance: {wildcards.section}"
    shell:
        "exact-cntk provenance --data {input.digest} --parameters {input.parameters} --out {output} > {log} 2>&1"


rule baselines:
    """All that the study computes beside its kernels, and where it comes from."""
    input:
        [section_files(key) for key in PRESENT],
        SECTION_PARAMETERS,
        SECTION_PROVENANCE,


for key in PRESENT:

    rule:
        name:
            f"section_{key}"
        input:
            metrics=rules.metrics.input,
            files=section_files(key),
            sources=section_sources(key),
        output:
            tables=[
                report(
                    f"{RESULTS}/tables/{table}.csv",
                    category="Tables",
                    caption=f"../report/tables/{table}.rst",
                    labels={"table": table},
                )
                for table in SECTIONS[key].tables
            ],
            figures=[
                report(
                    f"{RESULTS}/figures/{figure}.svg",
                    category="Figures",
                    caption=f"../report/figures/{figure}.rst",
                    labels={"figure": figure},
                )
                for figure in SECTIONS[key].figures
            ],
            page=f"{RESULTS}/sections/{key}.json",
        log:
            f"{RESULTS}/logs/section/{key}.log",
        benchmark:
            f"{RESULTS}/benchmarks/section/{key}.tsv"
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
        message:
            "section: {params.key}"
        shell:
            "exact-cntk section {params.key} --study-dir {params.study_dir} {params.metrics}"
            " --resamples {params.resamples} --seed {params.seed} {input.files} > {log} 2>&1"


rule sections:
    """Tables and figures of all sections."""
    input:
        PAGES,


rule tables:
    """Tidy tables of all metrics, the paper's table beside ours, and a summary for `dvc metrics`."""
    input:
        metrics=rules.metrics.input,
        sections=PAGES,
        sources=STUDY_SOURCES + sources("study/tables.py", "study/sections/_dispatch.py"),
    output:
        csv=[
            report(
                f"{RESULTS}/tables/{table}",
                category="Tables",
                caption=f"../report/tables/{Path(table).stem}.rst",
                labels={"table": Path(table).stem},
            )
            for table in TABLES
        ],
        markdown=f"{RESULTS}/tables/table1.md",
        summary=f"{RESULTS}/summary.json",
    log:
        f"{RESULTS}/logs/tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables.tsv"
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
    message:
        "tables: {output.summary}"
    shell:
        "exact-cntk table --study-dir {params.study_dir} {params.sections} {input.metrics} > {log} 2>&1"


rule figures:
    """Accuracy against depth, ridge paths, spectra, condition numbers."""
    input:
        metrics=rules.metrics.input,
        sources=STUDY_SOURCES + sources("study/tables.py", "study/figures.py", "study/style.py"),
    output:
        [
            report(
                f"{RESULTS}/figures/{figure}.svg",
                category="Figures",
                caption=f"../report/figures/{figure}.rst",
                labels={"figure": figure},
            )
            for figure in FIGURES
        ],
    log:
        f"{RESULTS}/logs/figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=10,
    params:
        study_dir=study_dir,
    message:
        f"figures: {RESULTS}/figures"
    shell:
        "exact-cntk figure --study-dir {params.study_dir} {input.metrics} > {log} 2>&1"


rule notebook:
    """Execute a notebook on the study's results, and make a page of it that opens offline."""
    input:
        notebook="notebooks/{notebook}.ipynb",
        metrics=rules.metrics.input,
        files=notebook_files,
        sources=notebook_sources,
        runner="workflow/scripts/run_notebook.py",
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
    message:
        "notebook: {output.page}"
    shell:
        "python {input.runner} {input.notebook} {output.notebook} {output.page} {params.given} > {log} 2>&1"


rule report:
    """One page with tables, figures and provenance, which opens offline."""
    input:
        metrics=rules.metrics.input,
        provenance=each_kernel("provenance/{kernel}.json"),
        section_provenance=SECTION_PROVENANCE,
        tables=rules.tables.output,
        figures=rules.figures.output,
        sections=PAGES,
        presented=PRESENTED,
        notebooks=expand(rules.notebook.output, notebook=NOTEBOOKS),
        sources=rules.figures.input.sources
        + sources(
            "study/headline.py",
            "study/report.py",
            "study/templates/*",
            "study/sections/__init__.py",
            "study/sections/_dispatch.py",
        ),
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
    message:
        "report: {output}"
    shell:
        "exact-cntk report --study-dir {params.study_dir} --out {output} {params.sections} {input.metrics}"
        " > {log} 2>&1"
