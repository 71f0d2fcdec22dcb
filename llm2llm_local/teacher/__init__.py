"""The model that writes new examples: its protocol, and the engine that runs a GGUF file in llama.cpp."""
