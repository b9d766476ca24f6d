"""mergekit at work in its own environment: as the command that users type, or with its imports done.

The command is a process a merge. The server merges one after another, in two ways: ``run_merge`` to a
folder, which is what the command does; and in memory, by the planner and the executor that its evolutionary
search merges with. That search itself cannot stand here: its
``InMemoryMergeEvaluator`` is a Ray actor that takes a GPU, needs lm-eval and knows causal models only.
Nor can the planner's ``plan_in_memory``, which ends in a TypeError ("abstract class Task[Tensor]"): what it
plans is executed without the wrapper that it fails to make, which would convert types and nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

WORKER = """
import json, sys, time, traceback, torch
answers, sys.stdout = sys.stdout, sys.stderr
from mergekit.architecture import get_architecture_info
from mergekit.config import MergeConfiguration
from mergekit.graph import Executor
from mergekit.io.tasks import LoaderCache
from mergekit.merge import _model_out_config, run_merge
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner
from safetensors.torch import save_file
torch.set_num_threads(int(sys.argv[1]))
options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
live, known = {}, []

def in_memory(config):
    if not known:
        LoaderCache().setup(options)
        architecture = get_architecture_info(config, options)
        known.extend([architecture, _model_out_config(config, architecture)])
    planner = MergePlanner(config, known[0], options, known[1])
    planner._plan()
    names = {task: weight.name for weight, task in planner._tensors}
    for task, value in Executor(list(names), math_device="cpu", storage_device="cpu").run(quiet=True):
        name = names[task]
        live[name].copy_(value) if name in live else live.update({name: value.clone()})

for line in sys.stdin:
    asked = json.loads(line)
    try:
        start = time.perf_counter()
        config = MergeConfiguration.model_validate(asked["config"])
        if asked["memory"]:
            in_memory(config)
        else:
            run_merge(config, asked["out"], options=options)
        seconds = time.perf_counter() - start
        if asked["memory"]:
            save_file(live, asked["out"] + "/model.safetensors")
        print(json.dumps(seconds), file=answers, flush=True)
    except Exception:
        print(json.dumps(traceback.format_exc()), file=answers, flush=True)
"""


def by_command(python: Path, config: Mapping[str, Any], out: Path, threads: int) -> float:
    """Merge into a folder by ``mergekit-yaml``, a process of its own, and give its seconds.

    Raises:
        RuntimeError: mergekit could not.
    """
    recipe = out.with_name(out.name + ".yaml")
    recipe.write_text(json.dumps(config))  # JSON is YAML
    command = [str(python), "-m", "mergekit.scripts.run_yaml", str(recipe), str(out), "--no-copy-tokenizer"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"mergekit failed: {ended.stderr}")
    return time.perf_counter() - start


class MergekitServer:
    """A process of mergekit's.

    Args:
        python: of an environment that holds it.
        threads: that torch computes with.

    Attributes:
        python, threads: as given.
    """

    def __init__(self, python: Path, threads: int) -> None:
        self.python, self.threads = python, threads
        self._process = subprocess.Popen(
            [str(python), "-c", WORKER, str(threads)],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def merge(self, config: Mapping[str, Any], out: Path, *, memory: bool) -> float:
        """Merge and give the seconds; with ``memory``, the file in ``out`` is written after these.

        Raises:
            RuntimeError: mergekit could not.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out.mkdir(parents=True, exist_ok=True)
        asked = {"config": config, "out": str(out), "memory": memory}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline() or '"it has ended"')
        if isinstance(answer, str):
            raise RuntimeError(f"mergekit failed: {answer}")
        return float(answer)

    def __enter__(self) -> MergekitServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # its input is at an end, and so is the process
