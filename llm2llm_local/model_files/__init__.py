"""What a model on disk is and whether it is whole, without loading it.

Everything here is decided from headers and small JSON files, so that a wrong model is named in a fraction of a
second, before a worker process spends minutes on it. Nothing of a model is ever executed: pickles and models that
bring their own code are refused.
"""
