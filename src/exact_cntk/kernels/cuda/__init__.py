"""The `cuda` backend: kernels of its own, compiled on the user's machine, around the compiled core."""

from exact_cntk.kernels.cuda.backend import compute, streams_rows
from exact_cntk.kernels.cuda.device import DeviceProperties, describe_software, open_device, require_gpu

__all__ = ["DeviceProperties", "compute", "describe_software", "open_device", "require_gpu", "streams_rows"]
