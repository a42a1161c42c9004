"""What stands between a plan and a machine. Pure: rules, changes and a time in; verdicts out."""
