"""`python -m llm2llm_local` is the command `llm2llm`."""

from .cli import main

main()
