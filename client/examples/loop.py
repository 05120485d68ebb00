"""A plain loop, with two more lines.

DATASET_PROGRESS_URL=http://127.0.0.1:8000 DATASET_PROGRESS_TOKEN=dp_… python loop.py DATASET
"""

import hashlib
import sys

from dataset_progress import track

texts = [f"sample {number}" for number in range(2_000)]

for text in track(texts, dataset=sys.argv[1]):
    hashlib.scrypt(text.encode(), salt=b"example", n=2, r=8, p=1)
