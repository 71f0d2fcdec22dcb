"""The history: one SQLite file a workspace, written by one process a run, read by anyone."""
