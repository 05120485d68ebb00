"""Hugging Face datasets: report the bars of the library, also those of several processes, without changing other code.

DATASET_PROGRESS_URL=http://127.0.0.1:8000 DATASET_PROGRESS_TOKEN=dp_… python hf_datasets.py DATASET
"""

import sys

from datasets import Dataset

from dataset_progress.tqdm import capture_tqdm


def measure(row: dict[str, str]) -> dict[str, int]:
    return {"length": len(row["text"])}


if __name__ == "__main__":
    with capture_tqdm(sys.argv[1], flush_seconds=10):
        texts = Dataset.from_dict({"text": [f"sample {number}" for number in range(1_000)]})
        texts = texts.map(measure, num_proc=2, desc="Measure")
        texts = texts.filter(lambda row: row["length"] > 9, desc="Choose")
