"""A grid of runs in one workspace, worked one after another: `llm2llm sweep`.

It keeps no state of its own. A cell of the grid is an ordinary run, begun, resumed and forked by the functions of
`loop.start`, and it is found again in the store by the conditions that its results depend on. So the same command goes
on where it was interrupted, and whatever shows runs shows these.
"""
