"""The child processes that hold a model, the pipe to them, and who may use the device."""
