"""What Python files import and use, found by reading them: nothing of theirs is ever run."""

import ast
import io
import posixpath
import threading
import tokenize
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MAX_FILE_BYTES = 1_000_000
MAX_TOTAL_BYTES = 1_000_000
MAX_NAME = 300
# Names that stand for each other's targets would have twice as many with each assignment.
MAX_TARGETS = 8

Files = Mapping[str, bytes | Callable[[], bytes]]

# warnings.catch_warnings changes a list that all threads share.
_parsing = threading.Lock()


class Unreadable(Exception):
    """A file that Python would refuse, with the line where it is known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class SourceTooLarge(Exception):
    """A file that is too large or too deeply nested to look at."""


@dataclass(frozen=True)
class ImportStatement:
    """One imported name: `module` as written, `name` for `from module import name`."""

    module: str
    name: str
    level: int
    line: int
    is_guarded: bool  # inside a try that catches a failing import, or only for type checkers

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.name}" if self.name and self.name != "*" else self.module


@dataclass(frozen=True)
class NameUse:
    """A dotted name with its aliases resolved, such as tensorflow.estimator.LinearClassifier."""

    name: str
    line: int


@dataclass(frozen=True)
class MethodCall:
    """A call of a method; `owner` is what its object was made from, where that can be told."""

    method: str
    owner: str
    first_text: str | None
    line: int


@dataclass(frozen=True)
class SourceFile:
    """What one file says."""

    path: str
    imports: tuple[ImportStatement, ...] = ()
    uses: tuple[NameUse, ...] = ()
    calls: tuple[MethodCall, ...] = ()
    texts: frozenset[str] = frozenset()
    is_empty: bool = False


@dataclass
class SourceProgram:
    """The entry script and every file of the source directory that it reaches by import."""

    sources: list[SourceFile] = field(default_factory=list)
    broken: list[tuple[str, Unreadable, bool]] = field(default_factory=list)
    skipped: list[tuple[str, SourceTooLarge]] = field(default_factory=list)
    foreign: list[tuple[str, ImportStatement]] = field(default_factory=list)
    off_path: list[tuple[str, ImportStatement, str]] = field(default_factory=list)

    def uses(self) -> Iterator[tuple[str, NameUse]]:
        """Return every dotted name used or imported, with the path of its file."""
        for source in self.sources:
            for imported in source.imports:
                if not imported.level:
                    yield source.path, NameUse(imported.dotted, imported.line)
            for use in source.uses:
                yield source.path, use

    def calls(self) -> Iterator[tuple[str, MethodCall]]:
        for source in self.sources:
            for call in source.calls:
                yield source.path, call


def read_source(path: str, text: bytes) -> SourceFile:
    """Read one file. Raises Unreadable or SourceTooLarge."""
    tree = _parse(path, text)
    nodes = list(ast.walk(tree))
    aliases = _aliases(nodes)
    return SourceFile(
        path,
        imports=tuple(_imports(nodes)),
        uses=tuple(_uses(nodes, aliases)),
        calls=tuple(_calls(nodes, aliases)),
        texts=frozenset(
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ),
        is_empty=not tree.body,
    )


def read_program(files: Files, entry: str, search: tuple[str, ...] = ()) -> SourceProgram:
    """Read the entry script, then what it imports from the source directory, nearest first.

    `search` holds further folders of the source directory that Python looks into (PYTHONPATH).
    """
    program = SourceProgram()
    tree = SourceTree(files)
    folders = (posixpath.dirname(entry), *search)
    waiting = deque([(entry, False)])
    seen = {entry}
    total = 0
    while waiting:
        path, is_guarded = waiting.popleft()
        text = tree.read(path)
        if len(text) > MAX_FILE_BYTES:
            program.skipped.append((path, SourceTooLarge("it is larger than 1 MB")))
            continue
        total += len(text)
        if total > MAX_TOTAL_BYTES:
            program.skipped.append(
                (path, SourceTooLarge("with the files before it, it is over 1 MB"))
            )
            break
        try:
            source = read_source(path, text)
            if source.is_empty and path == entry:
                raise Unreadable("it is empty")
        except Unreadable as trouble:
            program.broken.append((path, trouble, is_guarded))
            continue
        except SourceTooLarge as trouble:
            program.skipped.append((path, trouble))
            continue
        program.sources.append(source)
        for imported in source.imports:
            found = tree.resolve(imported, path, folders)
            if not found and not imported.level:
                elsewhere = tree.resolve(imported, path, ("",))
                if elsewhere:
                    program.off_path.append((path, imported, elsewhere[-1]))
                    found = elsewhere
                else:
                    program.foreign.append((path, imported))
            for target in found:
                if target not in seen and target.endswith(".py"):
                    seen.add(target)
                    waiting.append((target, is_guarded or imported.is_guarded))
    return program


class SourceTree:
    """The source directory, asked as Python's import would ask it."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.folders = {
            path[:cut] for path in files for cut, sign in enumerate(path) if sign == "/"
        }

    def read(self, path: str) -> bytes:
        held = self.files[path]
        return held if isinstance(held, bytes) else held()

    def resolve(
        self, imported: ImportStatement, importer: str, folders: tuple[str, ...]
    ) -> list[str]:
        """Return the files that an import runs; none when it means something from elsewhere."""
        if imported.level:
            start = posixpath.dirname(importer)
            for _ in range(imported.level - 1):
                start = posixpath.dirname(start)
            return self._walk(start, imported)
        for folder in folders:
            found = self._walk(folder, imported)
            if found:
                return found
        return []

    def _walk(self, folder: str, imported: ImportStatement) -> list[str]:
        found: list[str] = []
        here = folder
        for part in [part for part in imported.module.split(".") if part]:
            here = posixpath.join(here, part)
            step = self._module(here)
            if not step:
                return found
            found += step
        if imported.name and imported.name != "*":
            found += self._module(posixpath.join(here, imported.name))
        return found

    def _module(self, stem: str) -> list[str]:
        if f"{stem}/__init__.py" in self.files:
            return [f"{stem}/__init__.py"]
        if f"{stem}.py" in self.files:
            return [f"{stem}.py"]
        # A folder without __init__.py is a package too; it runs nothing.
        return [f"{stem}/"] if stem in self.folders else []


def _parse(path: str, text: bytes) -> ast.Module:
    if b"\x00" in text:
        line = text.count(b"\n", 0, text.index(b"\x00")) + 1
        raise Unreadable("it holds null bytes, so it is not Python source in UTF-8", line)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(text).readline)
        text.decode(encoding)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"its text is not in {encoding}, and it declares no other", line) from None
    except SyntaxError as error:
        raise Unreadable(str(error.msg)) from None
    except (LookupError, ValueError):  # of codecs for something else than text, such as hex
        raise Unreadable(f"its text is not in {encoding}; save it as UTF-8") from None
    try:
        with _parsing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, filename=path)
    except SyntaxError as error:
        raise Unreadable(f"syntax error: {error.msg}", error.lineno or 0) from None
    except (RecursionError, MemoryError):
        raise SourceTooLarge("it is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(str(error)) from None


def _aliases(nodes: Sequence[ast.AST]) -> dict[str, set[str]]:
    """Map each name of the file to what it may stand for; `()` marks the result of a call."""
    aliases: dict[str, set[str]] = {}

    def note(name: str, target: str) -> None:
        targets = aliases.setdefault(name, set())
        if len(targets) < MAX_TARGETS and len(target) <= MAX_NAME:
            targets.add(target)

    assigned: dict[tuple[str, str], None] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for imported in node.names:
                root = imported.name.split(".")[0]
                target = imported.name if imported.asname else root
                note(imported.asname or root, target)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for imported in node.names:
                target = f"{node.module}.{imported.name}"
                note(imported.asname or imported.name, target)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            made = "()" if isinstance(node.value, ast.Call) else ""
            chain = _chain(node.value.func if isinstance(node.value, ast.Call) else node.value)
            for name in targets:
                if isinstance(name, ast.Name) and chain and name.id != chain.split(".")[0]:
                    assigned[name.id, chain + made] = None
    for name_id, chain in assigned:
        for target in _resolved(chain, aliases):
            note(name_id, target)
    return aliases


def _chain(node: ast.expr | None) -> str:
    """Return `a.b.c` for such an expression, else nothing."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def _resolved(chain: str, aliases: Mapping[str, set[str]]) -> list[str]:
    made = "()" if chain.endswith("()") else ""
    root, _, rest = chain.removesuffix("()").partition(".")
    tail = (f".{rest}" if rest else "") + made
    return [target + tail for target in sorted(aliases.get(root, ()))]


def _imports(nodes: Sequence[ast.AST]) -> Iterator[ImportStatement]:
    guarded = {
        id(inner)
        for node in nodes
        if (isinstance(node, ast.Try) and _catches_imports(node)) or _is_for_type_checkers(node)
        for inner in _statements_in(node)
    }
    for node in nodes:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield ImportStatement(name.name, "", 0, node.lineno, id(node) in guarded)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield ImportStatement(
                    node.module or "", name.name, node.level, node.lineno, id(node) in guarded
                )


def _statements_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements directly in a block and in its handlers and branches."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.stmt):
            yield inner
        elif isinstance(inner, ast.ExceptHandler):
            yield from inner.body


def _catches_imports(node: ast.Try) -> bool:
    caught = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    for handler in node.handlers:
        kind = handler.type
        kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind] if kind else []
        if not kinds or any(_chain(kind) in caught for kind in kinds):
            return True
    return False


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and _chain(node.test).endswith("TYPE_CHECKING")


def _uses(nodes: Sequence[ast.AST], aliases: Mapping[str, set[str]]) -> Iterator[NameUse]:
    """Return every name where it is first used."""
    lines: dict[str, int] = {}
    for node in nodes:
        if isinstance(node, ast.Attribute) or (
            isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        ):
            chain = _chain(node)
            if chain and node.lineno < lines.get(chain, node.lineno + 1):
                lines[chain] = node.lineno
    for chain, line in sorted(lines.items(), key=lambda item: item[1]):
        for name in _resolved(chain, aliases):
            if "()" not in name:
                yield NameUse(name, line)


def _calls(nodes: Sequence[ast.AST], aliases: Mapping[str, set[str]]) -> Iterator[MethodCall]:
    for node in nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        value = node.func.value
        owners = _resolved(_chain(value.func if isinstance(value, ast.Call) else value), aliases)
        first = node.args[0] if node.args else None
        text = first.value if isinstance(first, ast.Constant) else None
        yield MethodCall(
            node.func.attr,
            owners[0] if owners else "",
            text if isinstance(text, str) else None,
            node.lineno,
        )
