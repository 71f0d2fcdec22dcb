"""Easy data augmentation (Wei and Zou 2019, arXiv 1901.11196): a baseline that changes words of a text by chance."""
