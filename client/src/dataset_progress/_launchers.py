"""The key by which processes of one job find each other: what their launcher calls the job.

The outermost launcher counts, because it has started all of them. The tasks of an array are one job.
"""

from __future__ import annotations

import os
import re

# In the order in which they count.
VARIABLES = (
    "SLURM_ARRAY_JOB_ID",  # the tasks of an array have a SLURM_JOB_ID each
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "LSB_JOBID",
    "TORCHELASTIC_RUN_ID",
    "OMPI_MCA_ess_base_jobid",
    "PMIX_NAMESPACE",
)
# What torchrun says if nobody named the job.
NO_NAME = "none"
# PBS numbers the tasks of an array: 123[4].host
_TASK_OF_ARRAY = re.compile(r"\[\d+\]")


def job_key() -> str | None:
    """Return a key that the processes of this job have in common; None if no launcher is known to have started them."""
    for variable in VARIABLES:
        if (name := os.environ.get(variable, "").strip()) and name != NO_NAME:
            return f"{variable}={_TASK_OF_ARRAY.sub('[]', name)}"
    return None
