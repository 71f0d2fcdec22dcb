"""A program of its own, which loads no model: ends with 0 if llama.cpp, as it was compiled, can put layers on a GPU.

Who only looks at a machine asks it that way, since llama.cpp belongs to workers.
"""

from __future__ import annotations

import sys

from .. import airgap


def main() -> int:
    airgap.enforce()
    from llama_cpp import llama_supports_gpu_offload

    return 0 if llama_supports_gpu_offload() else 1


if __name__ == "__main__":
    sys.exit(main())
