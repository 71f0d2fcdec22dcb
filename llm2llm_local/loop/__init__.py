"""The algorithm: `llm2llm.py` is the loop, every other file a stage of it or what stages share."""
