"""Measurements that a user can run: `llm2llm bench`.

A *contender* is a way of doing a piece of work: ours, or what a person would otherwise use. It is a function at the top
of one of these modules, `name(case) -> Callable[[], Mapping[str, float]]`. `case` is a frozen dataclass of sizes, seeds
and paths. The function is called once, in a child process that holds nothing else; there it imports, loads and
prepares, and none of that is timed. What it returns does the work once and tells how much it was, counted by what:
`{"requests": 32, "tokens": 1536}`. All that is timed, repeated, compared and told is the frame's: `measure` runs it,
`child` is the other end, `output` tells it, and `subjects` knows which contenders there are.

A contender that can't run here raises an Llm2LlmError that says why; the others are measured all the same. Packages
that the program doesn't need are imported inside the contender; a missing one is told as that.
"""
