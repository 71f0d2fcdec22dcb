"""What a person is shown of the history: figures, tables, lineage. Reads the store, never writes."""
