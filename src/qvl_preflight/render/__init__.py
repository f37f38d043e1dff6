"""Reports for people. What machines read is Report.to_dict (report/1)."""
