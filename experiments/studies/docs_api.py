"""The reference of functions: every public name of the package, by its source."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def api_page() -> str:
    """Write every public function and class of the package, by module."""
    parts = [
        "# Functions\n",
        "Every public name of the package: its signature, and the first sentence of its docstring, "
        "which goes on in the source. Axes have the same letters everywhere: T tasks, N slices, H "
        "and W, C channels, K classes or structures.\n",
    ]
    for path in sorted((ROOT / "jaxmeta").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        lines = [line for node in tree.body if (line := public(node))]
        if lines:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            doc = ast.get_docstring(tree)
            parts += [f"## {name}\n", sentence(doc) + "\n" if doc else "", *lines, ""]
    return "\n".join(parts)


def public(node: ast.stmt) -> str:
    """Write one line of a public function or class; nothing of what is private."""
    if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
        return ""
    told = f"`{node.name}{signature(node)}`"
    doc = ast.get_docstring(node)
    return f"- {told}: {sentence(doc)}" if doc else f"- {told}"


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Write a signature as the source has it; of a class of data, its fields."""
    if isinstance(node, ast.ClassDef):
        fields = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign)]
        return f"({', '.join(fields)})" if fields else ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


def sentence(doc: str) -> str:
    """Take the first sentence of a docstring."""
    first = " ".join(doc.split("\n\n")[0].split())
    return re.split(r"(?<=[^.][.:])\s+(?=[A-Z`(\[])", first)[0]
