# What every file is to be made from, by the parameters. Each file states what it was made from; what lies there and
# states something else is made again, whoever put it there: Snakemake, DVC's cache, a copy, a clone. Snakemake's own
# records and the ages of files may be missing or wrong.
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

from exact_cntk._support.statement import (
    PACKAGE,
    Misfit,
    Statement,
    digest_sources,
    misfit,
    read_statement,
    source_files,
    write_job,
)
from exact_cntk.data._processed import read_digest
from snakemake.logging import logger

# By rule: function of the wildcards that gives a `Made`; in made_from.smk.
MADE = {}
SAID = set()


class Made:
    """What a job makes its files from, and the patterns of its sources: by backend, and by "" those of all."""

    def __init__(self, statement, source_files):
        self.statement, self.source_files = statement, source_files


def made(step, parameters, sources, inputs=(), backends=None, place=None, of_data=True):
    """Put together what a job's files are made from, which depend on the study's images, but for these themselves.

    `sources` and the values of `backends` are patterns from `in_package`; `inputs` are results that the job reads, of
    which a block stands for all of its folder; `backends` are those that may compute, or have computed an input;
    `place` tells parts apart that are made from the same.
    """
    backends = backends or {}
    statement = Statement(
        step=step,
        parameters=plain(parameters),
        data=known_digest() if of_data else None,
        sources=digest_sources(sources, CHECKOUT),
        inputs=dict(map(named_identity, inputs)),
        backends={name: digest_sources(patterns, CHECKOUT) for name, patterns in backends.items()},
        place=place or {},
    )
    return Made(statement, {"": sources} | ({} if inputs else backends))


def plain(value):
    """Give values as JSON has them, whole numbers without a point: 0.0 is 0."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def in_package(*patterns):
    """Patterns of the package's sources, seen from the checkout."""
    return [f"{PACKAGE}/{pattern}" for pattern in patterns]


def sources(patterns):
    """List source files for a rule's input. Their content is in the statement, so that their age says nothing."""
    return ancient([str(CHECKOUT / path) for path in source_files(patterns, CHECKOUT)])


def step_sources(step):
    """List patterns of the sources of a step of a section."""
    (patterns,) = [plan(key).SECTION.steps[step] for key in KEYS if step in plan(key).SECTION.steps]
    return in_package(*patterns)


def named_identity(path):
    """Name an input, and say what it is to state."""
    folder = str(Path(path).parent)
    name = folder if folder.startswith(f"{RESULTS}/blocks/") else str(path)
    return name, to_make(*producer(str(path))).statement.identity


@cache
def producer(path):
    """Find the rule that makes a file, and its wildcards. A file that no rule makes is an error, never a source."""
    for candidate in workflow.rules:
        # in another workflow that uses this one as a module, rules may have a prefix
        name = max((name for name in MADE if f"_{candidate.name}".endswith(f"_{name}")), key=len, default=None)
        if name is not None and candidate.is_producer(path):
            return name, key_of(candidate.get_wildcards(path))
    raise WorkflowError(f"{path} is made by no rule; the parameters name something that cannot be computed")


def to_make(name, wildcards):
    """What a job's files are to be made from."""
    return _to_make(name, wildcards, known_digest())


@cache
def _to_make(name, wildcards, _digest):
    return MADE[name](SimpleNamespace(**dict(wildcards)))


def known_digest():
    """Read the data's digest; None where they are not prepared yet."""
    return _digest_in(DIGEST, os.stat(DIGEST).st_mtime_ns) if os.path.exists(DIGEST) else None


@cache
def _digest_in(path, _written):
    return read_digest(Path(path))


def fits(name, only_for=None, look=None):
    """Input function of a rule: makes its files anew if they are there and state something else.

    What they are to state depends on the data's digest: Snakemake asks again when that is known. `only_for` lists what
    is made from them: if that is there and fits, they are not needed, and stay as they are. `look` is a function of the
    wildcards that does all of it otherwise.
    """

    def hold(wildcards):
        digest = checkpoints.preprocess.get().output.digest if PREPARE is not None else []
        if look is not None:
            look(wildcards)
        elif only_for is None or not all(map(is_current, only_for(wildcards))):
            renew_misfit(name, wildcards)
        return digest

    return ancient(hold)


def inputs_of(name, files):
    """Input function of a rule: the results that it reads.

    Their age says nothing where the rule's own files fit, and everything that these were made from does; elsewhere
    Snakemake is to see which of them are made again.
    """

    def list_files(wildcards):
        paths = files(wildcards) if callable(files) else files
        outputs = outputs_of(name, key_of(wildcards))
        return ancient(paths) if all(map(is_settled, outputs)) else paths

    return list_files


def renew_misfit(name, wildcards):
    """Have a job done if its files are there and are not what the parameters make, and say why, once for a reason."""
    mismatch = misfit_now(name, key_of(wildcards))
    if mismatch is not None:
        outputs = outputs_of(name, key_of(wildcards))
        renew(outputs)
        say_why(outputs[0], mismatch)


def renew(outputs):
    """Have the job done that makes these files, as Snakemake does it where a run was interrupted."""
    workflow.dag.forcefiles.update(outputs)
    if "update_needrun" not in vars(workflow.dag):
        workflow.dag.update_needrun = examine_every_job(workflow.dag)


def examine_every_job(dag):
    """Let Snakemake look for reasons at all jobs, but for those that run anyway because of one that they depend on.

    It passes over all jobs behind one that runs, though inputs whose age says nothing (`ancient`) stop there what makes
    jobs run: some that are to be made again would never be looked at.
    """
    update_needrun, bfs = dag.update_needrun, dag.bfs

    def reached(direction, *jobs, **options):
        if direction is not dag.depending:
            yield from bfs(direction, *jobs, **options)
            return
        queue, seen = list(jobs), set(jobs)
        while queue:
            job = queue.pop()
            yield job
            for behind, files in direction[job].items():
                stopped = all(file.is_ancient and os.path.exists(file) for file in files)
                if behind not in seen and not stopped:
                    seen.add(behind)
                    queue.append(behind)

    async def update(*arguments, **options):
        dag.bfs = reached
        try:
            return await update_needrun(*arguments, **options)
        finally:
            del dag.bfs

    return update


def key_of(wildcards):
    """Wildcards to look things up by."""
    return tuple(sorted(wildcards.items()))


def outputs_of(name, wildcards):
    """List the files of a job."""
    return [str(pattern).format(**dict(wildcards)) for pattern in getattr(rules, name).output]


def misfit_now(name, wildcards):
    """Hold files of a job that are there against what they are to be made from; again only if they were written."""
    times = (os.stat(path).st_mtime_ns if os.path.exists(path) else None for path in outputs_of(name, wildcards))
    return _misfit(name, wildcards, known_digest(), tuple(times))


@cache
def _misfit(name, wildcards, _digest, _written):
    try:
        statement = to_make(name, wildcards).statement
        inputs = {path: stated_input(path) or identity for path, identity in statement.inputs.items()}
        return misfit(map(Path, outputs_of(name, wildcards)), replace(statement, inputs=inputs))
    except Exception as error:  # Snakemake would take the files that are there for sources, and go on
        return Misfit(f"what it is to be made from is unknown ({type(error).__name__}: {error})")


def stated_input(path):
    """What those state of a file that are made from it; None if it is not there, or is not what it is to be."""
    if not os.path.isfile(path) or not is_current(path):
        return None
    statement, _ = read_statement(Path(path))
    return statement and statement.as_input()


def is_current(path):
    """Whether a file is there, and is what the parameters make."""
    return os.path.exists(path) and not misfit_now(*producer(path))


def is_settled(path):
    """Whether a file is current, and so is all that it was made from, as far as that is there."""
    return _is_settled(path, known_digest())  # no file changes between two plans but with the digest


@cache
def _is_settled(path, digest):
    if not is_current(path):
        return False
    inputs = to_make(*producer(path)).statement.inputs
    return all(_is_settled(name, digest) for name in inputs if os.path.isfile(name))


def say_why(path, mismatch):
    """Say why files are made again, unless it is that their inputs are, which is said of these."""
    if mismatch.reason in SAID or not workflow.is_main_process:
        return
    SAID.add(mismatch.reason)
    if not mismatch.input or os.path.isdir(mismatch.input) or is_current(mismatch.input):
        logger.info(f"{path} is made again: {mismatch.reason}. So are others that this concerns.")


def with_statement(paths):
    """Leave out files that are no result of a job but a mark, such as a section's parameters."""
    return [path for path in paths if not path.endswith(".yaml")]


def made_from(name):
    """Parameter of a rule: the file that tells its command what to state, for `exact-cntk --made-from`."""

    def tell(wildcards):
        job = to_make(name, key_of(wildcards))
        return str(write_job(job.statement, job.source_files, Path(".snakemake/made_from"), CHECKOUT))

    return tell


def options(name, *names):
    """Parameter of a rule: options of its command, all that its files' statement has or those of these names."""

    def write(wildcards):
        parameters = to_make(name, key_of(wildcards)).statement.parameters
        return command_line({key: parameters[key] for key in names or parameters})

    return write


def command_line(parameters):
    """Write options as the command line takes them: lists with commas, mappings as JSON, flags alone, nothing for None."""
    words = []
    for name, value in parameters.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, dict):
            words.append(f"{option} {shlex.quote(json.dumps(value))}")
        elif value is not None and value is not False and value != []:
            words.append(f"{option} {shlex.quote(comma(value) if isinstance(value, list) else str(value))}")
    return " ".join(words)
