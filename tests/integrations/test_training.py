"""The callbacks for libraries that train, each in a program of its own with the real library and data that it makes."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from apps.progress import services
from apps.progress.models import Run
from tests.client.conftest import ended, shown, until
from tests.repository import ROOT

PYTHON = Path(os.environ["INTEGRATIONS_PYTHON"]).absolute()

# Each trains for 6 steps, unless STEPS says otherwise, waits TENTHS of a second after each, and fails after step FAIL.
BEGIN = """
import os, time
import numpy as np
STEPS, TENTHS, FAIL = (int(os.environ.get(name, 0)) for name in ("STEPS", "TENTHS", "FAIL"))
STEPS = STEPS or 6
x, y = np.random.default_rng(0).normal(size=(64, 4)).astype("float32"), np.arange(64).astype("float32") % 2

def after(step):
    time.sleep(TENTHS / 10)
    if step == FAIL:
        raise OSError("disk full")
"""
PROGRAMS = {
    "keras": """
import keras
from dataset_progress.integrations.keras import ProgressCallback
class Wait(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        after(epoch + 1)
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, y, epochs=STEPS, verbose=0, callbacks=[ProgressCallback("cats"), Wait()])
""",
    "lightgbm": """
import lightgbm
from dataset_progress.integrations.lightgbm import ProgressCallback
data = lightgbm.Dataset(x, y)
lightgbm.train(
    {"objective": "binary", "verbose": -1, "num_threads": 1}, data, STEPS, valid_sets=[data], valid_names=["train"],
    callbacks=[ProgressCallback("cats"), lambda env: after(env.iteration + 1)],
)
""",
    "xgboost": """
import xgboost
from dataset_progress.integrations.xgboost import ProgressCallback
class Wait(xgboost.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        after(epoch + 1)
        return False
data = xgboost.DMatrix(x, y)
xgboost.train(
    {"nthread": 1}, data, STEPS, evals=[(data, "train")], verbose_eval=False,
    callbacks=[ProgressCallback("cats", total=STEPS), Wait()],
)
""",
    "lightning": """
import lightning.pytorch as pl, torch, logging, warnings
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.simplefilter("ignore")
from dataset_progress.integrations.lightning import ProgressCallback
class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
class Wait(pl.Callback):
    def on_train_epoch_end(self, trainer, module):
        after(trainer.current_epoch + 1)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(x)), batch_size=32)
pl.Trainer(
    max_epochs=STEPS, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
    enable_model_summary=False, callbacks=[ProgressCallback("cats"), Wait()],
).fit(Model(), data)
""",
    "transformers": """
import torch, tempfile
from transformers import Trainer, TrainerCallback, TrainingArguments
from dataset_progress.integrations.transformers import ProgressCallback
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        out = self.layer(x).squeeze(-1)
        return {"loss": (out - labels).square().mean(), "logits": out}
class Wait(TrainerCallback):
    def on_epoch_end(self, args, state, control, **_):
        after(round(state.epoch))
arguments = TrainingArguments(
    tempfile.mkdtemp(), num_train_epochs=STEPS, per_device_train_batch_size=32, report_to=[], use_cpu=True,
    save_strategy="no", logging_strategy="epoch", disable_tqdm=True,
)
data = [{"x": row, "labels": label} for row, label in zip(torch.tensor(x), torch.tensor(y))]
Trainer(Model(), arguments, train_dataset=data, callbacks=[ProgressCallback("cats"), Wait()]).train()
""",
}
each_library = pytest.mark.parametrize("library", PROGRAMS)
UNITS = {"lightgbm": "rounds", "xgboost": "rounds"}


def start(library: str, **env: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("DATASET_PROGRESS_", "PATH", "HOME"))}
    env = {"PYTHONPATH": str(ROOT / "client/src"), "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "", **kept, **env}
    return subprocess.Popen(
        [PYTHON, "-c", BEGIN + PROGRAMS[library]], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@each_library
def test_a_training_is_reported(address: str, library: str) -> None:
    with start(library) as process:
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    progress = ended()
    assert progress.stage is not None
    assert (progress.state, progress.current, progress.total) == ("ready", 6, 6)
    assert (progress.stage.name, progress.stage.unit) == ("training", UNITS.get(library, "epochs"))


@each_library
def test_without_an_address_nothing_happens(library: str) -> None:
    with start(library, DATASET_PROGRESS_URL="") as process:
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "dataset_progress" not in errors


@each_library
def test_an_exception_is_an_error(address: str, library: str) -> None:
    with start(library, FAIL="3") as process:
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 1, errors
    assert "disk full" in errors
    assert ended().state == "error"
    assert (shown().error or "").startswith("OSError: disk full")


@each_library
def test_pause_and_cancel(address: str, library: str) -> None:
    with start(library, STEPS="100000", TENTHS="1") as process:
        seen = until(lambda progress: progress.current > 2).current
        assert "=" in until(lambda progress: progress.message != "").message  # the metrics
        services.request_pause(Run.objects.get().pk)
        until(lambda progress: progress.paused)
        while seen != (seen := _after_a_second()):  # it may do two more steps before it hears of it
            pass
        services.request_resume(Run.objects.get().pk)
        until(lambda progress: progress.current > seen)
        services.request_cancel(Run.objects.get().pk)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Cancelled" in errors
    assert until(lambda progress: progress.is_finished).cancelled


def _after_a_second() -> int:
    """Return how many steps are done a second later. Nothing else shows that a training waits."""
    time.sleep(1)
    return shown().current
