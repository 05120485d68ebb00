"""Callbacks for libraries that train: each epoch, round or trial is an item, and the metrics are the message.

    from dataset_progress.integrations.keras import ProgressCallback
    model.fit(x, y, epochs=10, callbacks=[ProgressCallback("cats")])

There is a module for each library, which imports it: ``keras``, ``lightgbm``, ``lightning``, ``optuna``,
``transformers`` and ``xgboost``. A `ProgressCallback` takes the dataset and the options of `track`. It ends with the
training, or with an exception that leaves it. A training inside a loop over the same dataset is a part of what that
loop counts.
"""
