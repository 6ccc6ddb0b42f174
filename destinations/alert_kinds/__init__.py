"""What alerts can watch for here: one file each, with a `kind` (alerts.rules.contract)."""
