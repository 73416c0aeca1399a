"""Runs the attacks: every function of a file in tests/attack whose name begins with `attack_`, and
without --short those that begin with `long_attack_`."""

import importlib
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


def main():
    arguments = sys.argv[1:]
    is_short = "--short" in arguments
    prefixes = ("attack_",) if is_short else ("attack_", "long_attack_")
    known = sorted(path.stem for path in HERE.parent.glob("*.py"))
    names = [name for name in arguments if name != "--short"] or known
    for name in names:
        if name not in known:
            sys.exit(f"expected one of {', '.join(known)}, got {name}")
    passed, failed, started = 0, [], time.monotonic()
    for name in names:
        module = importlib.import_module(name)
        cases = [case for case in vars(module) if case.startswith(prefixes)]
        for case in cases:
            begun = time.monotonic()
            try:
                getattr(module, case)()
                passed, outcome = passed + 1, "ok"
            except Exception as error:
                failed.append(f"{name}.{case}")
                outcome = "FAILED: " + str(error) if isinstance(error, AssertionError) else "FAILED"
                if not isinstance(error, AssertionError):
                    traceback.print_exc()
            print(f"{name}.{case} {outcome} ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"attacks: {passed} passed, {len(failed)} failed in {time.monotonic() - started:.0f} s")
    sys.exit(bool(failed))


main()
