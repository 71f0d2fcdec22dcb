"""The large libraries of the student, for a worker that waits for the device.

Seconds of imports, and nothing of the device: no CUDA context is made. PEFT and bitsandbytes are left out for that
reason, since importing them may ask the GPU for its properties.
"""

from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

__all__ = ["AutoModelForCausalLM", "AutoTokenizer", "nn"]
