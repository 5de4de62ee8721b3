"""Write the two files of the reference that the code itself gives: every option, every function.

    python -m experiments.studies.docs

Options are read from the dataclasses that the commands parse, and from the texts below their
fields; functions from the package's source. A test holds that the files are what this gives.
"""

from experiments.studies.docs_api import ROOT, api_page
from experiments.studies.docs_options import options_page
from jaxmeta.commands.command import run

MADE = "<!-- made by `python -m experiments.studies.docs`: change the code, and run it again -->\n"


def main() -> None:
    """Write both files."""
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, "utf-8")
        print(path)


def pages() -> dict[str, str]:
    """Give the text of each generated file."""
    return {
        "docs/reference/options.md": f"{MADE}\n{options_page()}",
        "docs/reference/api.md": f"{MADE}\n{api_page()}",
    }


if __name__ == "__main__":
    run(main)
