"""What a finished comparison leaves: figures, tables, summary.json and report.html."""
