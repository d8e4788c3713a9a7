"""What a reader needs to run it again: the machine, the threads, the libraries and the commit."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch
from threadpoolctl import threadpool_info

import scratch_conv


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    packages = ("numpy", "torch", "torchvision", "lightning")
    ours = {"scratch_conv": scratch_conv.__version__, "python": platform.python_version()}
    return ours | {package: version(package) for package in packages}


def machine() -> dict[str, str]:
    """Return the machine, its threads, the BLAS and OpenMP's policy, and the commit if there is one."""
    blas = [
        f"{library['internal_api']} {library['version']}, {library.get('architecture', 'unknown')} kernel, "
        f"{library['num_threads']} threads"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]
    found = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        "instructions that torch uses": torch.backends.cpu.get_cpu_capability(),
        "torch's threads": str(torch.get_num_threads()),
        "NumPy's BLAS": "; ".join(sorted(set(blas))) or "unknown",
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
    commit = _commit()
    return found | ({"commit": commit} if commit else {})


def spelt(value: object) -> str:
    """Return the value of an option as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "all" if value is None else str(value)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of the checkout that the package lies in, and whether files were changed since."""
    checkout = Path(scratch_conv.__file__).parent.parent
    if not (checkout / ".git").exists():
        return None
    commands = ("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no")
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(checkout), *command], capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout that it refuses
        return None
    return f"{commit}, and changes that are not committed" if changes else commit
