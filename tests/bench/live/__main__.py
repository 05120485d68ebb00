"""Run the parts of the benchmark. The last line is one JSON object."""

from __future__ import annotations

import json
import resource

from tests.bench.live.age import age, health
from tests.bench.live.breadth import breadth
from tests.bench.live.fan_out import fan_out, pages
from tests.bench.live.idle import idle
from tests.bench.live.options import PARTS
from tests.bench.live.polling import polling
from tests.bench.live.servers import site


def main() -> None:
    # Each watcher is an open file in the server and in the receiver.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parts = {
        "fan-out": fan_out, "pages": pages, "health": health, "age": age,
        "breadth": breadth, "polling": polling, "idle": idle,
    }  # fmt: skip
    with site() as one:
        results = {key: value for name in PARTS for key, value in parts[name](one).items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
