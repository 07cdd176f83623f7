"""Write the report's numbers as Markdown."""

from haloquant.report.gpu_table import gpu_sentences, gpu_table
from haloquant.report.results import Results
from haloquant.report.tables import base_method, method_table, new_silicon_caption, new_silicon_table


def render_markdown(results: Results) -> str:
    """Return the report's numbers as Markdown text."""
    table = method_table(results)
    lines = [
        f"# {results.model}",
        "",
        f"{results.parameters:,} parameters; perplexity on {results.evaluation}; MAC `{results.profile.name}`.",
        "",
        "| " + " | ".join(table.head) + " |",
        "|" + "---|" * len(table.head),
        *("| " + " | ".join(row.cells) + " |" for row in table.rows),
        "",
        "± is the standard error of a perplexity's difference to fp16, window by window: methods closer than about "
        "twice that are not told apart by this text.",
        "",
        f"Speed and energy are ratios to {base_method(results).name.upper()} on the same simulated machine, through "
        "the same MAC profile.",
        "",
    ]
    for found in results.new_silicon:
        silicon = new_silicon_table(found)
        lines += [f"## The same area for every system: {found.target}", ""]
        if found.rows:
            lines += [
                new_silicon_caption(found),
                "",
                "| " + " | ".join(silicon.head) + " |",
                "|" + "---|" * len(silicon.head),
                *("| " + " | ".join(row.cells) + " |" for row in silicon.rows),
                "",
            ]
        lines += [
            *(f"- {text}" for text in found.notes),
            "",
        ]
    if results.notes:
        lines += ["## The model and its texts", "", *(f"- {text}" for text in results.notes), ""]
    if results.warnings:
        lines += ["## Where it does not pay", "", *(f"- {text}" for text in results.warnings), ""]
    lines += ["## Codebooks", "", "| class | clock, GHz | supply, V | values |", "|---|---|---|---|"]
    for row in results.profile.classes:
        values = " ".join(map(str, row.values)) if len(row.values) <= 16 else f"all {len(row.values)}"
        lines.append(f"| {row.name} | {row.frequency_hz / 1e9:.3f} | {row.voltage_v:.2f} | {values} |")
    if results.gpus:
        board = gpu_table(results)
        lines += [
            "",
            "## Graphics processors (model, not measured)",
            "",
            *(f"- {text}" for text in gpu_sentences(results)),
            "",
            "| " + " | ".join(board.head) + " |",
            "|" + "---|" * len(board.head),
            *("| " + " | ".join(row.cells) + " |" for row in board.rows),
        ]
    lines += ["", "## Provenance", "", *(f"- {key}: `{value}`" for key, value in results.provenance.items()), ""]
    return "\n".join(lines)
