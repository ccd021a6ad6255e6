# Raw archive → data/processed/<study>.h5.


if SOURCE.download is not None:

    rule fetch_data:
        """Download the official archive, resuming after a break, and verify its md5."""
        output:
            str(SOURCE.download.path),
        log:
            "data/raw/fetch.log",
        benchmark:
            "data/raw/fetch.tsv"
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=500,
            runtime=120,
        params:
            dataset=PREPARE["dataset"],
            folder=lambda _wildcards, output: Path(output[0]).parent,
        message:
            "fetch_data: {output}"
        shell:
            "exact-cntk data fetch {params.dataset} --out {params.folder} > {log} 2>&1"


# A checkpoint, so that the kernels are planned again when the digest of the data is known: the same data prepared
# again, for whatever reason, costs no kernel.
checkpoint preprocess:
    """Select, normalise and store the images and labels, and a digest of them beside."""
    input:
        raw=raw_files,
        fits=prepared_data_fit,
        sources=sources(PREPARE_SOURCES),
    output:
        data=DATA,
        digest=DIGEST,
    log:
        f"{RESULTS}/logs/preprocess.log",
    benchmark:
        f"{RESULTS}/benchmarks/preprocess.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=10,
    params:
        dataset=PREPARE["dataset"],
        classes=" ".join(f"--class {index}" for index in PREPARE["classes"]),
        options=command_line({name: value for name, value in PREPARE.items() if name not in ("dataset", "classes")}),
        made_from=made_from("preprocess"),
    message:
        "preprocess: {output.data}"
    shell:
        "exact-cntk --made-from {params.made_from} data prepare {params.dataset} {params.classes} {params.options}"
        " --out {output.data} > {log} 2>&1"
