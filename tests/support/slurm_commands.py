"""Slurm's commands as scripts that run jobs on this machine: what submitit needs of them.

A job is a folder `$FAKE_SLURM/<array id>_<index>` with the number of its process group, while it
runs, in `pgid`, and its state in `state`. `sbatch` starts a process per job that runs the script
again where `scontrol requeue` asked for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

_BEGINNING = f"""#!{sys.executable}
import os, re, signal, subprocess, sys
from pathlib import Path
HOME = Path(os.environ["FAKE_SLURM"])
"""

_COMMANDS = {
    "sbatch": """
script = Path(sys.argv[-1]).read_text()
if "partition=nowhere" in script:
    sys.exit("sbatch: error: invalid partition specified: nowhere")
(HOME / "script").write_text(script)
array = re.search(r"--array=0-(\\d+)", script)
for index in range(int(array[1]) + 1 if array else 1):
    name = f"77_{index}" if array else "77"
    job = HOME / name
    job.mkdir()
    (job / "state").write_text("RUNNING")
    if os.fork():
        continue
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.environ |= {"SLURM_JOB_ID": name} | (
        {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(index)} if array else {}
    )
    while True:
        process = subprocess.Popen(["bash", HOME / "script"], start_new_session=True)
        (job / "pgid").write_text(str(process.pid))
        code = process.wait()
        (job / "pgid").unlink()
        again = job / "requeue"
        if not again.exists():
            break
        again.unlink()
    (job / "state").write_text("COMPLETED" if code == 0 else "FAILED")
    os._exit(0)
print("Submitted batch job 77")
""",
    "srun": """
words = sys.argv[1:]
while words[0].startswith("--"):
    option = words.pop(0)
    if option == "--output":
        name = words.pop(0).replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
        name = name.replace("%A", "77").replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
        output = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
os.execvp(words[0], words)
""",
    "sacct": """
print("JobID|State|NodeList")
for state in HOME.glob("77*/state"):
    print(f"{state.parent.name}|{state.read_text()}|here")
""",
    "scontrol": """
(HOME / sys.argv[2] / "requeue").touch()
""",
    "scancel": """
with open(HOME / "cancelled", "a") as file:
    print(sys.argv[1], file=file)
try:
    os.killpg(int((HOME / sys.argv[1] / "pgid").read_text()), signal.SIGKILL)
except (FileNotFoundError, ProcessLookupError):
    pass
""",
}


def write_slurm(folder: Path) -> None:
    """Write the commands into a folder."""
    folder.mkdir()
    for name, text in _COMMANDS.items():
        (folder / name).write_text(_BEGINNING + text)
        (folder / name).chmod(0o755)
