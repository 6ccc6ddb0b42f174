"""Plants faults in what decides who is in an audience, one after the other, and shows that the oracle finds each.

    python -m tests.planted_faults            all of them, `make oracle` does it
    python -m tests.planted_faults edge       those whose name has "edge" in it

Each runs on a copy of the code, so that nothing here is ever changed. Ends with status 1 when one is not found.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORACLE = ["tests/flows/test_audience_meaning.py", "tests/flows/test_oracle.py"]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "var", "node_modules", "__pycache__", ".pytest_cache", ".hypothesis")
RULES = "audiences/rules"


@dataclass(frozen=True)
class Fault:
    """In one file, some text becomes another one."""

    name: str
    file: str
    right: str
    wrong: str


FAULTS = (
    Fault("a window that is closed at its beginning", f"{RULES}/conditions.py", "%s AND ts > %s", "%s AND ts >= %s"),
    Fault("a window that is open at its end", f"{RULES}/conditions.py", "%s AND ts <= %s", "%s AND ts < %s"),
    Fault("a date that counts as before itself", f"{RULES}/windows.py", "before - 1", "before"),
    Fault(
        "the wrong end of between",
        f"{RULES}/windows.py",
        "return now - self.newest.milliseconds",
        "return now",
    ),
    Fault("an edge that is not named", f"{RULES}/windows.py", "self.duration.milliseconds, 0", "(0,)"),
    Fault(
        "an edge a millisecond late", f"{RULES}/aggregates.py", "at(now - self.after))\n", "at(now - self.after - 1))\n"
    ),
    Fault("an edge to come that is not named", f"{RULES}/aggregates.py", "self.due(now, until))\n", "Sql('0'))\n"),
    Fault(
        "an edge of a sequence that is skipped",
        f"{RULES}/sequences.py",
        'step.within is not None and step.bound != "atLeast"\n    ]',
        "False\n    ]",
    ),
    Fault(
        "an edge of a date that is skipped",
        f"{RULES}/operators.py",
        "turns=lambda value: (0, -value.milliseconds)",
        "turns=lambda value: (0,)",
    ),
    Fault("merged numbers that are forgotten", f"{RULES}/compiler.py", "if(winner = 0, raw, winner)", "raw"),
    Fault(
        "counts of merged people that are not added up", f"{RULES}/aggregates.py", '"UInt64", "sum"', '"UInt64", "max"'
    ),
    Fault(
        "the sums of merged people that are not added up",
        f"{RULES}/aggregates.py",
        '"Int128", "sum"',
        '"Int128", "max"',
    ),
    Fault(
        "events of merged people that are not put in order",
        f"{RULES}/sequences.py",
        "arraySort({self.columns[0]}) AS",
        "({self.columns[0]}) AS",
    ),
    Fault("a NULL that is not guarded", f"{RULES}/operators.py", '"ifNull(%s, 0)"', '"ifNull(%s, 1)"'),
    Fault("a value that need not exist", f"{RULES}/operators.py", '"(%s AND NOT %s)"', '"(%s OR NOT %s)"'),
    Fault("NOT that is forgotten", f"{RULES}/grammar.py", 'return "NOT ("', 'return "("'),
    Fault("anonymous people who are counted", f"{RULES}/compiler.py", '"known AND "', '""'),
    Fault("batches that were given up", "sources/events/client.py", "NOT IN", "IN"),
    Fault("the oldest value of a trait", f"{RULES}/person_traits.py", "maxIf(", "minIf("),
    Fault("an event that follows itself", f"{RULES}/sequences.py", ">= n + {number}", ">= n + {number} - 1"),
    Fault(
        "a sequence that is open at its end", f"{RULES}/sequences.py", "<= e.1 + {step.within}", "< e.1 + {step.within}"
    ),
    Fault(
        "what did not happen, before the time is over",
        f"{RULES}/sequences.py",
        "AND e.1 + {step.within} <= {self.now})",
        "AND 1)",
    ),
    Fault("a step that is like every event before it", f"{RULES}/sequences.py", "sipHash64(k, v)", "sipHash64(k)"),
    Fault("a difference from nothing", f"{RULES}/sequences.py", 'f"if({complete}, n, 0)" if unlike else "n"', '"n"'),
    Fault(
        "a comparison with the event before it that is open at its end",
        f"{RULES}/sequences.py",
        'else f"e.1 + {step.within}"',
        'else f"e.1 + {step.within - 1}"',
    ),
    Fault(
        "a difference from a trait that is none",
        f"{RULES}/sequences.py",
        "if operator.negative else some",
        "if 0 else some",
    ),
    Fault("a sum of all events of a sequence", f"{RULES}/sequences.py", "if(c, e.6[{self._slot(name)}], [])", "e.6[1]"),
    Fault("a session that ends too early", f"{RULES}/sessions.py", "d > {gap}", "d >= {gap}"),
    Fault("a current session that stays", f"{RULES}/sessions.py", "].1 + {gap} >= {now}", "].1 + {gap} >= 0"),
    Fault("the end of a session that is not named", f"{RULES}/windows.py", "(0, self.gap.milliseconds + 1)", "(0,)"),
    Fault("a step that follows another one", f"{RULES}/sequences.py", "step.follows == place", "place == 0"),
    Fault("an average of everything", f"{RULES}/amounts.py", "(%s > 0 AND", "(%s >= 0 AND"),
    Fault("a year that stands for others", f"{RULES}/dates.py", "400) - 5", "400) - 4"),
    Fault("a smallest that is the largest", f"{RULES}/amounts.py", '"-%s", amount', '"%s", amount'),
    Fault("texts and numbers that are one", f"{RULES}/values.py", "sipHash64('{kind}', %s)", "sipHash64(%s)"),
    Fault(
        "a birthday in the wrong month", f"{RULES}/operators.py", "substring(%s, 6, 5) IN", "substring(%s, 6, 5) NOT IN"
    ),
)


def found(fault: Fault) -> bool:
    """Whether the oracle's tests fail with it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "personas"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        (copy / ".venv").symlink_to(ROOT / ".venv")
        file = copy / fault.file
        text = file.read_text()
        if fault.right not in text:
            raise SystemExit(f"{fault.name}: {fault.right!r} is not in {fault.file} any more")
        file.write_text(text.replace(fault.right, fault.wrong))
        command = [sys.executable, "-m", "pytest", *ORACLE, "-x", "-q", "-n", "2", "-p", "no:cacheprovider"]
        settings = {**os.environ, "PYTHONPATH": str(copy), "PERSONAS_PLANTED_FAULT": fault.name}
        run = subprocess.run(command, cwd=copy, env=settings, capture_output=True, check=False)
        if run.returncode and b"FAILED " not in run.stdout:
            raise SystemExit(f"{fault.name}: the tests do not run\n{run.stdout.decode()}{run.stderr.decode()}")
        return run.returncode != 0


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    missed = []
    for fault in FAULTS:
        if wanted in fault.name:
            here = found(fault)
            print(f"{'found ' if here else 'MISSED'}  {fault.name}", flush=True)
            missed += [] if here else [fault.name]
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
