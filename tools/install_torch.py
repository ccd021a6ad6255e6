"""Install the torch that pyproject.toml pins, in the build that suits this machine.

PyPI's Linux build brings gigabytes of CUDA libraries, so it is taken only where there is an NVIDIA GPU. The CPU build
has the same version number with the suffix +cpu, and is not on PyPI: pip's own configuration may know where it is,
and uv knows PyTorch's index.
"""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
PIP_INSTALL = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
# torch's own dependencies are in requirements.lock, under hashes.
UV_INSTALL = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--torch-backend", "cpu")


def pinned_version() -> str:
    """Return the version in the extra `torch`, which holds one exact requirement."""
    (requirement,) = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]["torch"]
    return requirement.removeprefix("torch==")


def is_installed(wanted: str) -> bool:
    """Tell whether torch is there in the wanted version, whatever its build."""
    try:
        return version("torch").split("+")[0] == wanted
    except PackageNotFoundError:
        return False


def has_nvidia_gpu() -> bool:
    """Tell whether the NVIDIA driver is there and finds a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def routes(wanted: str) -> list[tuple[str, ...]]:
    """Return the commands to try in turn; the first that succeeds has installed torch."""
    if sys.platform != "linux" or has_nvidia_gpu():
        return [(*PIP_INSTALL, f"torch=={wanted}")]
    python = ("--python", sys.executable)
    return [(*PIP_INSTALL, "--no-deps", f"torch=={wanted}+cpu"), (*UV_INSTALL, *python, f"torch=={wanted}")]


def main() -> int:
    """Install torch unless it is there; on failure, say what was tried and what to do."""
    wanted = pinned_version()
    if is_installed(wanted):
        return 0
    print(f"Installing torch {wanted} (a minute or two)", flush=True)
    failures = []
    for command in routes(wanted):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return 0
        failures.append(f"$ {' '.join(command)}\n{done.stderr.strip()}")
    print("\n".join(failures), file=sys.stderr)
    print(
        f"torch {wanted} could not be installed. Install it by hand, with a connection or a wheel of your own, and run "
        f"make again:\n  {sys.executable} -m pip install torch=={wanted}\n"
        "(on Linux this build brings some 3 GB of CUDA libraries; the CPU build is +cpu on PyTorch's own index)",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
