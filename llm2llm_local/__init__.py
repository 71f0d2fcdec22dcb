"""LLM2LLM on one machine without a network: a local teacher writes examples like those a student gets wrong."""

__version__ = "0.1.0"
