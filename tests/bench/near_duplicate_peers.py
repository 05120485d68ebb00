"""`PEERS=VENV python -m tests.bench.near_duplicate_peers`: the search for near-duplicates beside faiss.

Over the same vectors, in one thread each, building the index included: seconds of processor time, how many of the
samples that have an earlier near-duplicate are found, and by how many megabytes memory grows. VENV has faiss-cpu.
"""

from __future__ import annotations

from .near_duplicates import VECTORS, _dataset, _peak_mb  # before NumPy: it sets its threads

# isort: split
import json
import os
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from .pipeline import _site

SCRIPT: Final = """
import json, sys, time
import faiss, numpy as np
tool, vectors, threshold = sys.argv[1], np.load(sys.argv[2]), float(sys.argv[3])
faiss.omp_set_num_threads(1)
count, size = vectors.shape
# Not ru_maxrss, which begins with that of the process that started this one.
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1000
before, began, found = peak(), time.process_time(), []
if tool == "faiss IVF":
    lists = int(4 * count**0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, count // (40 * lists))])
    index.nprobe = 8
elif tool == "faiss HNSW":
    index = faiss.IndexHNSWFlat(size, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = 64
else:
    index = faiss.IndexFlatIP(size)
if tool != "faiss flat":
    index.add(vectors)
for start in range(0, count, 4096):
    block = vectors[start : start + 4096]
    rows = np.arange(start, start + len(block))
    if tool == "faiss flat":  # exact: all that came before
        index.add(block)
        limits, _, others = index.range_search(block, threshold)
        rows = np.repeat(rows, np.diff(limits).astype(int))
        found += np.unique(rows[others < rows]).tolist()
        continue
    scores, others = index.search(block, 16)
    found += rows[((others >= 0) & (others < rows[:, None]) & (scores >= threshold)).any(1)].tolist()
print(json.dumps([time.process_time() - began, found, peak() - before]))
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-near-duplicates-") as name, _site(Path(name)):
        from apps.pipeline.images.duplicates import nearest_earlier, read_vectors
        from apps.pipeline.images.embedders import ColourLayout

        file, threshold = Path(name, "vectors.npy"), 0.97
        read = partial(read_vectors, _dataset(), ColourLayout.name, ColourLayout.dimensions)
        before, began = _peak_mb(), time.process_time()
        ours = {near.sample - 1 for near in nearest_earlier(read, threshold)}
        _tell("ours", time.process_time() - began, len(ours), _peak_mb() - before)
        np.save(file, np.concatenate([batch.vectors for batch in read()]))
        for tool in ("faiss flat", "faiss IVF", "faiss HNSW"):
            run = [str(Path(os.environ["PEERS"], "bin", "python")), "-c", SCRIPT, tool, str(file), str(threshold)]
            answer = subprocess.run(run, check=True, stdout=subprocess.PIPE, env={"OMP_NUM_THREADS": "1"})
            seconds, found, growth = json.loads(answer.stdout)
            _tell(tool, seconds, len(ours & set(found)), growth)


def _tell(tool: str, seconds: float, found: int, growth: float) -> None:
    figures = {"processor_seconds": round(seconds, 1), "found": found, "growth_mb": round(growth)}
    print(json.dumps({"vectors": VECTORS, "tool": tool, **figures}), flush=True)


if __name__ == "__main__":
    main()
