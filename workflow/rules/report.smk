# Tables, figures, notebooks and the page that people look at, all from the metrics alone.
TABLES = ["accuracy.csv", "accuracy_by_depth.csv", "ridge_path.csv", "spectra.csv", "correlation.csv", "table1.csv"]
FIGURES = ["accuracy", "small_against_full", "ridge_path", "spectra", "condition_number", "paper_table1"]
# With the parameters that a notebook takes beside the study's folder and its metrics.
NOTEBOOKS = {"table1": [], "correlation": ["resamples", "seed"], "ridge": []}
STUDY_SOURCES = sources(*(f"study/{name}" for name in ["results.py", "references.*", "correlation.py", "markup.py"]))


wildcard_constraints:
    notebook="|".join(NOTEBOOKS),


rule tables:
    """Tidy tables of all metrics, the paper's table beside ours, and a summary for `dvc metrics`."""
    input:
        metrics=rules.metrics.input,
        sources=STUDY_SOURCES + sources("study/tables.py"),
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
        resamples=REPORT["resamples"],
        seed=REPORT["seed"],
    message:
        "tables: {output.summary}"
    shell:
        "exact-cntk table --study-dir {params.study_dir} --resamples {params.resamples} --seed {params.seed}"
        " {input.metrics} > {log} 2>&1"


rule figures:
    """Accuracy against depth, ridge paths, spectra, small against full training sets."""
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
        sources=rules.figures.input.sources + sources("study/headline.py"),
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
        study_dir=study_dir,
        metrics=lambda _wildcards, input: comma(input.metrics),
        more=lambda wildcards: " ".join(f"{name}={REPORT[name]}" for name in NOTEBOOKS[wildcards.notebook]),
    message:
        "notebook: {output.page}"
    shell:
        "python {input.runner} {input.notebook} {output.notebook} {output.page} study_dir={params.study_dir}"
        " 'metrics=[{params.metrics}]' {params.more} > {log} 2>&1"


rule report:
    """One page with tables, figures and provenance, which opens offline."""
    input:
        metrics=rules.metrics.input,
        provenance=each_kernel("provenance/{kernel}.json"),
        tables=rules.tables.output,
        figures=rules.figures.output,
        notebooks=expand(rules.notebook.output, notebook=NOTEBOOKS),
        sources=rules.figures.input.sources + sources("study/headline.py", "study/report.py", "study/templates/*"),
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
    message:
        "report: {output}"
    shell:
        "exact-cntk report --study-dir {params.study_dir} --out {output} {input.metrics} > {log} 2>&1"
