"""What LLM2LLM's published code leaves behind (SqueezeAILab/LLM2LLM), read and graded by our graders."""
