"""A program of its own, given a model: whether llama.cpp, as it was compiled, computes on this processor.

pip keeps what it has compiled, and a home folder or an image may be used on more than one kind of machine: what was
compiled for another processor ends with SIGILL at the first token, or at the first batch of them. `make models` tries
it, and compiles again where it doesn't work.
"""

from __future__ import annotations

import os
import sys

from .. import airgap

_N_TOKENS = 64


def main(model: str) -> None:
    """Reads a batch of tokens and one more. Ends the process where llama.cpp can't."""
    airgap.enforce()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the processor is tried, and a GPU may be full
    from llama_cpp import Llama

    llama = Llama(model, n_ctx=2 * _N_TOKENS, n_gpu_layers=0, verbose=False)
    llama.eval([1] * _N_TOKENS)
    llama.eval([1])


if __name__ == "__main__":
    main(sys.argv[1])
