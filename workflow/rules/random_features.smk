# Random features: kernels of random finite networks, and the exact kernels of the same images.
from exact_cntk.study.random_features import expected_memory, random_features_names

FEATURES = PARAMS["random_features"]
FEATURES_FAMILIES = {
    one["name"]: one for one in KERNELS["families"] if one["name"] in (FEATURES or {}).get("families", [])
}
SECTION_FILES["random_features"] = [f"{RESULTS}/random_features/{name}.json" for name in random_features_names(PARAMS)]


wildcard_constraints:
    features_family="|".join(map(re.escape, FEATURES_FAMILIES)) or "none",
    draw=r"\d\d+",


rule random_features:
    """All result files of the section."""
    input:
        section_files("random_features"),


if FEATURES is not None:
    FEATURES_IMAGES = f"--train-images {FEATURES['train_images']} --test-images {FEATURES['test_images']}"
    FEATURES_SOURCES = sources(
        "_regression.py",
        "_ridge_path.py",
        "study/random_features.py",
        "study/random_features_fits.py",
        "study/random_features_jobs.py",
        "study/solve.py",
    )
    NETWORK_SOURCES = sources(
        *(f"finite/{name}.py" for name in ["_contract", "_pass", "_signals", "empirical", "networks"])
    )

    rule random_features_draw:
        """Regression on the features of one random network of each depth, along the ridge path, in both precisions."""
        input:
            digest=ancient(digest_file),
            data=ancient(DATA),
            sources=FEATURES_SOURCES + NETWORK_SOURCES,
        output:
            f"{RESULTS}/random_features/{{features_family}}-draw-{{draw}}.json",
        log:
            f"{RESULTS}/logs/random_features/{{features_family}}-draw-{{draw}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/random_features/{{features_family}}-draw-{{draw}}.tsv"
        conda:
            "../../environment.yml"
        threads: features_threads
        resources:
            gpu=features_gpu,
            mem_mb=expected_memory(PARAMS) // 2**20 + 1000,
            runtime=240,
        params:
            digest=data_digest,
            architecture=features_architecture,
            images=FEATURES_IMAGES,
            depths=comma(FEATURES["depths"]),
            width=FEATURES["width"],
            draw=lambda wildcards: int(wildcards.draw),
            ridges=comma(SOLVE["ridges"]),
        message:
            "random_features_draw: {wildcards.features_family}, draw {params.draw}"
        shell:
            # `--resources gpu=0` hides any GPU.
            "device=auto; if [ {resources.gpu} = 0 ]; then device=cpu; fi; "
            "exact-cntk random-features draw --data {input.data} {params.architecture} --depths {params.depths}"
            " --width {params.width} --draw {params.draw} {params.images} --ridges {params.ridges}"
            " --device $device --out {output} > {log} 2>&1"

    rule random_features_exact:
        """Regression with a family's exact kernels on the images of the draws, in the same way."""
        input:
            data=ancient(DATA),
            kernels=lambda wildcards: [
                f"{RESULTS}/kernels/{kernel_name(wildcards.features_family, depth)}.h5" for depth in FEATURES["depths"]
            ],
            sources=FEATURES_SOURCES,
        output:
            f"{RESULTS}/random_features/{{features_family}}-exact.json",
        log:
            f"{RESULTS}/logs/random_features/{{features_family}}-exact.log",
        benchmark:
            f"{RESULTS}/benchmarks/random_features/{{features_family}}-exact.tsv"
        conda:
            "../../environment.yml"
        threads: features_solve_threads
        resources:
            gpu=0,
            mem_mb=expected_memory(PARAMS) // 2**20 + 1000,
            runtime=240,
        params:
            images=FEATURES_IMAGES,
            ridges=comma(SOLVE["ridges"]),
        message:
            "random_features_exact: {wildcards.features_family}"
        shell:
            "exact-cntk random-features exact --data {input.data} {params.images} --ridges {params.ridges}"
            " --out {output} {input.kernels} > {log} 2>&1"


if FEATURES is not None and FEATURES["sweep"] is not None:

    rule random_features_sweep:
        """Deviation of empirical kernels from the exact one against width, with the fitted slope."""
        input:
            digest=ancient(digest_file),
            data=ancient(DATA),
            sources=FEATURES_SOURCES + NETWORK_SOURCES + sources("finite/convergence.py"),
        output:
            f"{RESULTS}/random_features/{{features_family}}-sweep.json",
        log:
            f"{RESULTS}/logs/random_features/{{features_family}}-sweep.log",
        benchmark:
            f"{RESULTS}/benchmarks/random_features/{{features_family}}-sweep.tsv"
        conda:
            "../../environment.yml"
        threads: features_threads
        resources:
            gpu=features_gpu,
            mem_mb=expected_memory(PARAMS) // 2**20 + 1000,
            runtime=240,
        params:
            digest=data_digest,
            architecture=features_architecture,
            widths=comma(FEATURES["sweep"]["widths"]),
            depth=FEATURES["sweep"]["depth"],
            draws=FEATURES["sweep"]["draws"],
            images=FEATURES["sweep"]["images"],
        message:
            "random_features_sweep: {wildcards.features_family}"
        shell:
            "device=auto; if [ {resources.gpu} = 0 ]; then device=cpu; fi; "
            "exact-cntk random-features sweep --data {input.data} {params.architecture} --depth {params.depth}"
            " --widths {params.widths} --draws {params.draws} --images {params.images}"
            " --device $device --out {output} > {log} 2>&1"
