"""The person's data files: `reader` turns them into rows or says what is wrong with them, `repeats` compares rows."""
