"""The results of a finished run: figures, tables, summary.json and report.html."""
