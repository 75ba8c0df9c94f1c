"""replay.py PROGRAM TARGET: a fuzz target, built without libFuzzer, on its seeds
and on what was found before (found/TARGET). (P16)"""
import pathlib
import subprocess
import sys
import tempfile

import seeds

program, target = sys.argv[1:]
found = pathlib.Path(__file__).resolve().parent / "found" / target
with tempfile.TemporaryDirectory() as made:
    seeds.main(target, made)
    done = subprocess.run([program, made, *([found] if found.is_dir() else [])], capture_output=True)
sys.stdout.buffer.write(done.stdout)
if done.returncode:
    sys.stdout.buffer.write(done.stderr[-8000:])
    sys.exit(f"{program}: {done.returncode}")
