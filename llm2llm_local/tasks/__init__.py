"""What a task is: one file a family, all with the same face (`base.Task`)."""
