"""The terminal UI: a view on the store that changes nothing but what a person asks for, as rows."""
