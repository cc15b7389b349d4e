"""Training killed with SIGKILL and taken up again: are the weights those of an unbroken one?"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.table import Score, Table, Target


def kill(score: Score) -> None:
    """SIGKILL in training."""
    program = (
        "import sys; from pathlib import Path; import numpy as np; import torch; torch.set_num_threads(1)\n"
        "from dipolar.simulate.composition import composition_film\n"
        "from dipolar.recipes.study import source_of_film\n"
        "from dipolar.recipes.train import train_on_sources\n"
        "from dipolar.recipes.train_settings import TrainSettings\n"
        "from dipolar.learn.store import write_model\n"
        "film = composition_film(0.0, rng=np.random.default_rng(0), shape_px=(640, 640))\n"
        "settings = TrainSettings(steps=200, ensemble=1, window_px=40)\n"
        "made = train_on_sources([source_of_film(film, name='film')], settings, work=Path(sys.argv[1]))\n"
        "write_model(made.model, Path(sys.argv[1]) / 'model')\n"
    )
    sums = []
    with tempfile.TemporaryDirectory() as folder:
        for name, waits in (("whole", []), ("killed", [12.0, 9.0])):
            work = Path(folder) / name
            for wait in waits:
                process = subprocess.Popen([sys.executable, "-c", program, str(work)])
                try:
                    process.wait(wait)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            subprocess.run([sys.executable, "-c", program, str(work)], check=True)
            sums.append(hashlib.sha256((work / "model.safetensors").read_bytes()).hexdigest())
    table = Table("training of 200 steps", "sha256 of the tensors")
    for name, total in zip(("unbroken", "killed twice and taken up"), sums, strict=True):
        table.row(name, total[:16])
    score.judge("killed and taken up: weights differ", [float(sums[0] != sums[1])], Target(high=0.0))
