"""From masks to numbers: pairs, evaluation, result files, comparison, floors, published numbers."""
