"""Agreement, position bias and annotator reports."""
