"""The model that is trained: its protocol, and the engine that fine-tunes 4-bit weights with LoRA."""
