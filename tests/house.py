"""How the product's code looks to a stranger, in figures: `make house` prints them beside what they should be.

`python -m tests.house sources access/pages` prints them for these folders alone.

They are symptoms. The aim is that whoever joins knows the room.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
APPS = (
    *("personas_site", "console", "privacy", "profiles_sync", "destinations", "audiences"),
    *("imports", "identity", "sources", "alerts", "access", "spaces"),
)
DIALECT = re.compile(r"(?:_|\b)(found|each|made|held|said)(?:_|\b)")
NOT_NAMES = {"Meta", "Migration", "Command"}  # Django looks for them by these names
STAGES = ("sources.archive", "identity.resolve", "audiences.evaluate", "destinations.sync")


def main() -> int:
    files = {path: path.read_text() for path in product(sys.argv[1:] or APPS)}
    lines = sum(text.count("\n") for text in files.values())
    trees = {path: ast.parse(text) for path, text in files.items()}
    functions, single = helpers(trees)
    twins = sorted(name for name, count in classes(trees).items() if count > 1)
    words, comments = tokens(files)
    print(f"lines of product code                     {lines:7,}")
    print(f"functions                                 {functions:7,}")
    print(f"private helpers with one caller           {100 * single / functions:7.1f} %    at most 10")
    print(f"class names that stand for several things {len(twins):7}      none: {', '.join(twins)}")
    print(f"found, each, made, held, said             {1000 * words / lines:7.1f}      per 1,000 lines, at most 5")
    print(f"comments                                  {100 * comments / lines:7.1f}      per 100 lines, at least 4")
    graph = grimp.build_graph(*(app for app in APPS if (ROOT / app).is_dir()))
    for stage in STAGES:
        print(f"files that {stage:22} imports       {len(graph.find_upstream_modules(stage)):5}")
    return 0


def product(folders: Sequence[str]) -> Iterator[Path]:
    """Python files that run in production, without migrations."""
    for folder in folders:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if "migrations" not in path.parts)


def helpers(trees: dict[Path, ast.Module]) -> tuple[int, int]:
    """How many functions there are, and how many of them are private and used in one place only."""
    functions = single = 0
    for tree in trees.values():
        used = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions += 1
                private = node.name.startswith("_") and not node.name.startswith("__")
                single += private and used[node.name] == 1
    return functions, single


def classes(trees: dict[Path, ast.Module]) -> Counter[str]:
    """How often each name occurs. Whoever uses a class inside of another writes both names, as in Replay.State."""

    def named(node: ast.AST, outer: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                if child.name not in NOT_NAMES:
                    yield outer + child.name
                yield from named(child, f"{outer}{child.name}.")
            else:
                yield from named(child, outer)

    return Counter(name for tree in trees.values() for name in named(tree, ""))


def tokens(files: dict[Path, str]) -> tuple[int, int]:
    """How many names are of the dialect, and how many comments there are."""
    words = comments = 0
    for text in files.values():
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            words += token.type == tokenize.NAME and bool(DIALECT.fullmatch(token.string))
            comments += token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:", "# fmt"))
    return words, comments


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
