"""A sheet as files: CSV with the numbers, Markdown and HTML to read, PNG and SVG of its figure."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from clmer.experiments.figures import render
from clmer.experiments.sheets import Sheet, Table
from clmer.report.html import Section, escape, page, picture, table
from clmer.storage import write_file
from clmer.text import cell

WARNING = (
    "Scores of people's recordings: labels are self-reports or stimuli, not inner states. Run "
    "folders (cells/) beside this file can hold data under an agreement (DEAP, AMIGOS): keep them "
    "private."
)
GENERATED = (
    "Scores on generated recordings: they show no people, nor how well a model would read them."
)
_WIDE = "body { max-width: 76rem; } td { white-space: nowrap; }"


def write(sheet: Sheet, folder: Path, made_by: str, *, generated: bool = False) -> list[Path]:
    """Write a sheet's files.

    Args:
        sheet: what to write.
        folder: an existing folder.
        made_by: the command that makes it again.
        generated: whether all of its scores are on generated recordings.

    Returns:
        The files.

    Raises:
        DataError: a file cannot be written.
    """
    files = {".csv": _csv(sheet), ".md": _markdown(sheet, made_by)}
    image = b""
    if sheet.figure is not None:
        image = render(sheet.figure, "png")
        files |= {".png": image, ".svg": render(sheet.figure, "svg")}
    files[".html"] = _html(sheet, made_by, image, GENERATED if generated else WARNING)
    paths = [folder / f"{sheet.stem}{suffix}" for suffix in files]
    for path, content in zip(paths, files.values(), strict=True):
        write_file(path, content)
    return paths


def _csv(sheet: Sheet) -> bytes:
    names = list(dict.fromkeys(name for row in sheet.records for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    for row in sheet.records:
        writer.writerow({k: _value(v) for k, v in row.items()})
    return out.getvalue().encode()


def _value(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6f}"
    return cell(value) if isinstance(value, str) else value


def _markdown(sheet: Sheet, made_by: str) -> bytes:
    parts = [f"# {sheet.title}", "", f"    {made_by}", ""]
    if sheet.figure is not None:
        parts += [f"![{sheet.alt}]({sheet.stem}.png)", ""]
    for each in sheet.tables:
        said = f"{each.caption}. {each.text}" if each.text else f"{each.caption}:"
        parts += [said, "", *_markdown_table(each), ""]
    parts += [f"- {note}" for note in sheet.notes]
    return "\n".join([*parts, ""]).encode()


def _markdown_table(each: Table) -> list[str]:
    lines = [each.header, ("---",) * len(each.header), *each.rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _html(sheet: Sheet, made_by: str, image: bytes, warning: str) -> bytes:
    sections = []
    if image:
        sections.append(Section("Figure", sheet.alt, picture(image, sheet.alt)))
    for each in sheet.tables:
        sections.append(Section(each.caption, each.text, table(each.header, each.rows)))
    notes = "".join(f"<li>{escape(note)}</li>" for note in sheet.notes)
    sections.append(Section("Notes", "", f"<ul>{notes}</ul>"))
    text = page(sheet.title, made_by, warning, sections, _WIDE)
    return text.encode()
