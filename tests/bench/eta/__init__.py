"""`make bench-eta`: how well the time left is told, beside tqdm and the plain mean."""
