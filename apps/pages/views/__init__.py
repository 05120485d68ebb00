"""One module a noun: datasets, their live partials, their samples, and what may be done to them."""
