# Raw archive → data/processed/<study>.h5. The digits come with scikit-learn and need no archive.


rule fetch_data:
    """Download the official archive, resuming after a break, and verify its md5."""
    output:
        ARCHIVE,
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
        folder=lambda _wildcards, output: Path(output[0]).parent,
    message:
        "fetch_data: {output}"
    shell:
        "exact-cntk data fetch cifar10 --out {params.folder} > {log} 2>&1"


# A checkpoint, so that the kernels are planned again when the digest of the data is known: the same data prepared
# again, for whatever reason, costs no kernel.
checkpoint preprocess:
    """Select, normalise and store the images and labels, and a digest of them beside."""
    input:
        raw=raw_files,
        sources=sources("data/*.py"),
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
        source=f"--source {shlex.quote(PREPARE['source'])}" if PREPARE["source"] else "",
        unverified="--allow-unverified" if PREPARE["allow_unverified"] else "",
        resolution=PREPARE["resolution"],
        classes=" ".join(f"--class {index}" for index in PREPARE["classes"]),
        train_images=PREPARE["train_images"],
        selection=PREPARE["selection"],
        seed=PREPARE["seed"],
        test_images=PREPARE["test_images"],
    message:
        "preprocess: {output.data}"
    shell:
        "exact-cntk data prepare {params.dataset} {params.source} {params.unverified}"
        " --resolution {params.resolution} {params.classes}"
        " --train-images {params.train_images} --selection {params.selection} --seed {params.seed}"
        " --test-images {params.test_images} --out {output.data} > {log} 2>&1"
